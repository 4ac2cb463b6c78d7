"""`seqgen adversarial`: train a discriminator on a generator, or a generator against one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.algorithms import GROUPS
from seqgen.cli import common
from seqgen.cli.text_options import takes_text

NAMES = "\b\n" + "\n".join(f"{how}: {', '.join(names)}" for how, names in GROUPS.items())
"""The epilog of the help; a backspace keeps its lines."""


@takes_text
def adversarial(
    algorithm: Annotated[str, typer.Argument(metavar="NAME", help=common.NAME_HELP)] = "residual",
    init: Annotated[
        Path | None, typer.Option(help="The run to start from; the latest that fits if not given.")
    ] = None,
    teacher: common.Teacher = None,
    data: Any = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/ALGORITHM-CORPUS if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of training in steps; the setting steps if not given.")
    ] = None,
    minutes: common.Minutes = None,
    seed: Annotated[int | None, common.seed_option("Seed; that of the run to start from, or 0.")] = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    compile: common.Compile = False,
    quiet: common.Quiet = False,
    trust: common.Trust = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train a discriminator, and by it a generator. The same command again resumes.

    residual, the default, leaves the generator as it is and samples by both; the others train the generator
    on. Most start from a pretrained run and learn from its corpus; scratchgan starts from a --corpus.
    """
    from seqgen import algorithms

    values = common.gather(config, settings)
    if list_settings:
        common.list_settings(algorithm, algorithms.ADVERSARIAL, values)
    from seqgen.training import setup

    common.run_job(
        lambda: setup.adversarial_job(
            init,
            algorithm,
            data=data,
            path=run,
            teacher=teacher,
            values=values,
            steps=steps,
            minutes=minutes,
            seed=seed,
            device_name=device,
            compile=compile,
            trust=trust,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen sample --run {run}  or  seqgen evaluate --run {run}",
    )
