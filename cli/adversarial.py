"""`seqgen adversarial`: train a pretrained generator against a discriminator."""

from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common


def adversarial(
    algorithm: Annotated[str, typer.Argument(help="What to train.")] = "seqgan",
    init: Annotated[
        Path | None, typer.Option(help="The pretrained run; the latest under runs/ if not given.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/ALGORITHM-CORPUS if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of the generator; the setting steps if not given.")
    ] = None,
    seed: Annotated[int | None, common.seed_option("Seed; the pretrained run's if not given.")] = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train a pretrained generator against a discriminator. The same command again resumes."""
    from seqgen import algorithms

    if list_settings:
        common.list_settings(algorithm, algorithms.ADVERSARIAL)
    from seqgen.training import setup

    common.run_job(
        lambda: setup.adversarial_job(
            init,
            algorithm,
            path=run,
            values=common.gather(config, settings),
            steps=steps,
            seed=seed,
            device_name=device,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen sample --run {run}  or  seqgen evaluate --run {run}",
    )
