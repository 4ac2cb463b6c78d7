"""`seqgen pretrain`: train a likelihood model on a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common
from seqgen.cli.text_options import takes_text


@takes_text
def pretrain(
    algorithm: Annotated[str, typer.Argument(metavar="NAME", help=common.NAME_HELP)] = "mle",
    data: Any = None,
    init: Annotated[
        Path | None, typer.Option(help="A run on another corpus to start from; its words are kept.")
    ] = None,
    teacher: common.Teacher = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/ALGORITHM-CORPUS if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: common.Steps = None,
    epochs: common.Epochs = None,
    minutes: common.Minutes = None,
    seed: Annotated[int, common.seed_option("Seed of the splits, the weights and the batches.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    compile: common.Compile = False,
    quiet: common.Quiet = False,
    trust: common.Trust = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train a generator by maximum likelihood. The same command again resumes."""
    from seqgen import algorithms

    values = common.gather(config, settings)
    if list_settings:
        common.list_settings(algorithm, algorithms.PRETRAIN, values)
    from seqgen.training import setup

    common.run_job(
        lambda: setup.pretrain_job(
            data or setup.DataConfig(),
            algorithm,
            path=run,
            init=init,
            teacher=teacher,
            values=values,
            steps=steps,
            epochs=epochs,
            minutes=minutes,
            seed=seed,
            device_name=device,
            compile=compile,
            trust=trust,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen sample --run {run}" + _and_then(algorithm),
    )


def _and_then(algorithm: str) -> str:
    """Return what fits a run of an algorithm beside sampling from it."""
    from seqgen import algorithms

    if algorithm not in algorithms.PRETRAIN:
        return " --trust"
    if algorithms.PRETRAIN[algorithm].cls.latent:
        return "  or  seqgen adversarial aegan --init {run}"
    return "  or  seqgen adversarial --init {run}"
