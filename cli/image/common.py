"""Options that several image commands share, and the run that they read."""

from collections.abc import Callable
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
        help="digits; a folder of IDX, Parquet, .npz or .npy files or of pictures; an .npz or .npy file; "
        "mnist, fashion-mnist, cifar10: from the hub."
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Crop the largest square in the middle of each image and scale it to N×N pixels; as they are if "
        "not given.",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of labels of Parquet files, or the array of an .npz; label or y if not given.",
    ),
]
Background = Annotated[
    str | None,
    typer.Option(help="The colour below transparent pixels, white or black; white if not given."),
]
Moved = Annotated[
    str | None,
    typer.Option(
        "--run-data", metavar="PATH", help="Where the images of the run are now, if they have moved."
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a run whose model is code outside seqgen; the run executes it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")]


def load(
    run: Path | None,
    *,
    device: str,
    threads: int | None,
    quiet: bool,
    trust: bool = False,
    data: str | None = None,
    with_encoder: bool = False,
) -> "TrainedImages":
    """Read the run named, or the newest image run that fits, and print to stderr which one it is.

    Args:
        data: where its images are now, if they have moved.
        with_encoder: whether only a run whose model has an encoder fits.
    """
    from seqgen.core import device as devices
    from seqgen.image.runs import load

    devices.prepare(threads)
    trained = load.load(run or latest(with_encoder=with_encoder), device, trust=trust, data=data)
    notifier(quiet)(f"run: {trained.run.path} ({trained.run.config['algorithm']} on {trained.spec})")
    return trained


def notifier(quiet: bool) -> Callable[[str], None]:
    """Return the function that prints messages about progress to stderr, or nothing where `quiet`."""
    return (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))


def latest(*, with_encoder: bool = False) -> Path:
    """Return the image run under runs/ that was trained last and fits; UserError where there is none."""
    from seqgen import image
    from seqgen.training import job
    from seqgen.training import run_folder as runs

    def fits(run: runs.Run) -> bool:
        entry = image.MODELS.get(str(run.config["algorithm"]))
        has_encoder = entry is None or hasattr(entry.cls, "encode")  # of a class outside seqgen none knows
        return run.config["verb"] == "image" and (has_encoder or not with_encoder)

    found = runs.newest(job.ROOT, fits)
    if found is None:
        kind = "of a model with an encoder " if with_encoder else ""
        raise UserError(
            f"no image run {kind}under 'runs/'; run 'seqgen image train' first, or name one with --run"
        )
    return found.path
