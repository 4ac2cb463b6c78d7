"""`seqgen image sample`, `reconstruct`, `interpolate`, `latent`, `traverse` and others: figures as PNG files.

Each prints the path of the file that it writes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli import common
from seqgen.cli.image import common as image_common
from seqgen.core.atomic_files import is_written_in_place
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.image.runs.load import TrainedImages

Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE.png", help="The file to write; COMMAND.png in the run if not given."),
]
Seed = Annotated[int, common.seed_option("Seed of the images drawn.")]
VIEWS = ("auto", "manifold", "pca", "tsne", "umap")


def sample(
    run: image_common.Run = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many images.")] = 64,
    label: Annotated[str | None, typer.Option(help="Samples of this label; for conditional models.")] = None,
    columns: Annotated[int, typer.Option(min=1, help="Images in a row.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|FOLDER",
            help="A grid, or a folder of images, a file each; sample.png in the run if not given.",
        ),
    ] = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw samples of a run, as one grid or as many files."""
    from seqgen.image.applications import figures

    trained = image_common.load(run, device=device, threads=threads, quiet=quiet, trust=trust)
    if out is not None and out.suffix.lower() != ".png" and not is_written_in_place(out):
        if out.suffix and not out.is_dir():
            raise UserError(f"--out '{out}' is neither a .png file, the one format drawn, nor a folder")
        figures.sample_files(trained, n, out, label=label, seed=seed)
        typer.echo(str(out))
        return
    _draw(
        trained,
        "sample",
        out,
        lambda path: figures.samples(trained, n, path, label=label, columns=columns, seed=seed),
    )


def reconstruct(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many test images.")] = 20,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw test images, and below each its reconstruction."""
    from seqgen.image.applications import figures

    trained = image_common.load(
        run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data, with_encoder=True
    )
    n = _at_most(n, len(figures.test_images(trained)), "test images", quiet)
    _draw(trained, "reconstruct", out, lambda path: figures.reconstructions(trained, n, path, seed=seed))


def interpolate(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    rows: Annotated[int, typer.Option(min=1, help="How many pairs of test images.")] = 8,
    points: Annotated[int, typer.Option(min=2, help="Interpolated images of each pair.")] = 10,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw interpolations between the latents of two test images, a row for each pair."""
    from seqgen.image.applications import figures

    trained = image_common.load(run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data)
    if hasattr(trained.model, "encode"):
        rows = _at_most(rows, figures.most_pairs(trained), "pairs of test images", quiet)
    _draw(
        trained,
        "interpolate",
        out,
        lambda path: figures.interpolations(trained, path, rows=rows, points=points, seed=seed),
    )


def latent(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    view: Annotated[
        str,
        typer.Option(
            help="manifold: decoded images of a 2-d latent space; pca, tsne, umap: maps of the test images' "
            "latents; auto: manifold where there are two latent dimensions, else tsne."
        ),
    ] = "auto",
    n: Annotated[int, typer.Option("--n", min=3, help="How many test images, for a map.")] = 2000,
    side: Annotated[int, typer.Option(min=2, help="Images across and down, for a manifold.")] = 20,
    label: Annotated[
        str | None, typer.Option(help="The label of the manifold of a conditional model.")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw the latent space: decoded images, or a map of the test images' latents coloured by label."""
    if view not in VIEWS:
        raise UserError(f"no view '{view}'" + did_you_mean(view, VIEWS))
    from seqgen.image.applications import figures

    trained = image_common.load(
        run,
        device=device,
        threads=threads,
        quiet=quiet,
        trust=trust,
        data=run_data,
        with_encoder=view != "manifold",
    )
    if view == "auto":
        view = "manifold" if trained.model.config.latent_dim == 2 else "tsne"
    if view == "manifold":
        _draw(trained, view, out, lambda path: figures.manifold(trained, path, side=side, label=label))
        return
    if label is not None:
        raise UserError(f"--label goes with --view manifold, not with {view}")
    _draw(trained, view, out, lambda path: figures.latent_map(trained, path, method=view, n=n, seed=seed))


def traverse(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    dimensions: Annotated[int, typer.Option(min=1, help="Latent dimensions, a row each.")] = 10,
    points: Annotated[int, typer.Option(min=2, help="Images in a row.")] = 9,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw what one latent dimension at a time changes in a test image, a row for each dimension."""
    from seqgen.image.applications import figures

    trained = image_common.load(run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data)
    _draw(
        trained,
        "traverse",
        out,
        lambda path: figures.traversals(trained, path, dimensions=dimensions, points=points, seed=seed),
    )


def activations(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    n: Annotated[int, typer.Option("--n", min=1, max=50, help="How many test images.")] = 3,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw test images, and beside each a bar chart of its latent."""
    from seqgen.image.applications import figures

    trained = image_common.load(
        run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data, with_encoder=True
    )
    n = _at_most(n, len(figures.test_images(trained)), "test images", quiet)
    _draw(trained, "activations", out, lambda path: figures.activations(trained, path, n=n, seed=seed))


def denoise(
    run: image_common.Run = None,
    run_data: image_common.Moved = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many test images.")] = 10,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Standard deviation of the noise; that of the training, or 0.3, if not given."
        ),
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    trust: image_common.Trust = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw test images with noise, their reconstructions, and the clean images."""
    from seqgen.image.applications import figures

    trained = image_common.load(
        run, device=device, threads=threads, quiet=quiet, trust=trust, data=run_data, with_encoder=True
    )
    n = _at_most(n, len(figures.test_images(trained)), "test images", quiet)
    _draw(trained, "denoise", out, lambda path: figures.denoised(trained, n, path, noise=noise, seed=seed))


def _at_most(asked: int, there: int, what: str, quiet: bool) -> int:
    """Return how many are drawn, and say so where there are fewer than asked for; 1 at least."""
    if asked > there > 0 and not quiet:
        typer.echo(f"there are {there:,} {what}: all are drawn", err=True)
    return min(asked, max(there, 1))


def _draw(trained: "TrainedImages", name: str, out: Path | None, draw: Callable[[Path], None]) -> None:
    """Draw into the file given, or into the run folder, and print its path."""
    common.check_file(out, ".png")
    path = out or trained.run.writable(f"{name}.png")
    draw(path)
    typer.echo(str(path))
