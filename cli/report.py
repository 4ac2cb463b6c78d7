"""`seqgen report`: one HTML page about one or more runs."""

from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError

NAME = "report.html"


def report(
    run: Annotated[
        list[Path] | None, typer.Option(help="The run, or several; the latest under runs/ if not given.")
    ] = None,
    corpus: common.Moved = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help=f"The page; {NAME} in the (first) run's folder if not given."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=2, help="Samples of each run at each temperature.")] = 2000,
    temperatures: Annotated[
        str,
        typer.Option(metavar="T,T,…", help="Temperatures of the samples and of the quality–diversity curve."),
    ] = "0.7,0.85,1.0,1.15",
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Write one self-contained HTML page about runs and print its path.

    Settings, training curves, scores, the quality–diversity curve, samples, latents, lengths, n-grams.
    """
    grid = common.temperatures(temperatures)
    paths = [common.run_or_latest(path) for path in run or [None]]
    _check_different(paths)
    common.check_file(out, ".html", ".htm")
    from seqgen.core import device as devices
    from seqgen.core.atomic_files import write_text
    from seqgen.report import page as reports

    devices.prepare(threads)
    runs = [common.load_run(path, device, trust=trust, corpus=corpus) for path in paths]
    target = out or runs[0].run.writable(NAME)
    if not quiet:
        listed = ", ".join(map(str, paths))
        typer.echo(f"run: {listed}; {n:,} samples at each temperature, seed {seed}", err=True)
    write_text(target, reports.page(runs, n=n, temperatures=grid, seed=seed))
    typer.echo(str(target))


def _check_different(paths: list[Path]) -> None:
    """Raise UserError for duplicate runs."""
    twice = [path for i, path in enumerate(paths) if path.resolve() in map(Path.resolve, paths[:i])]
    if twice:
        raise UserError(f"--run '{twice[0]}' is given twice; name each once")
