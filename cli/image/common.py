"""Options that several image commands share, and the run that they read."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from seqgen.image.runs.load import TrainedImages

Run = Annotated[Path | None, typer.Option(help="The run; the latest image run under runs/ if not given.")]
Data = Annotated[
    str,
    typer.Option(
        help="digits, a folder of IDX files, of Parquet files or of pictures; "
        "mnist, fashion-mnist, cifar10: from the hub."
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a run whose model is code outside seqgen; the run executes it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")]


def load(
    run: Path | None, *, device: str, threads: int | None, quiet: bool, trust: bool = False
) -> "TrainedImages":
    """Read the run named, or the latest image run, and print to stderr which one it is."""
    from seqgen.core import device as devices
    from seqgen.image.runs import load

    devices.prepare(threads)
    trained = load.load(run or latest(), device, trust=trust)
    config = trained.run.config
    notifier(quiet)(f"run: {trained.run.path} ({config['algorithm']} on {config['data']})")
    return trained


def notifier(quiet: bool) -> Callable[[str], None]:
    """Return the function that prints messages about progress to stderr, or nothing where `quiet`."""
    return (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))


def latest() -> Path:
    """Return the image run under runs/ that was trained last; UserError where there is none."""
    from seqgen.training import job
    from seqgen.training import run_folder as runs

    # The latest of all may be a run on text; then the image run whose reports are the newest.
    others = sorted(job.ROOT.glob(f"*/{runs.METRICS}"), key=lambda path: -path.stat().st_mtime)
    for path in [runs.latest(job.ROOT), *(each.parent for each in others)]:
        if path is not None:
            with suppress(UserError):  # a broken run must not hide the others
                if runs.open_run(path).config["verb"] == "image":
                    return path
    raise UserError("no image run under 'runs/'; run 'seqgen image train' first, or name one with --run")
