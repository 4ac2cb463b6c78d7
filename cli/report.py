"""`seqgen report`: one HTML page about one or more runs, on text or on images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from seqgen.training.run_folder import Run

NAME = "report.html"
TEMPERATURES = "0.7,0.85,1.0,1.15"


def report(
    run: Annotated[
        list[Path] | None, typer.Option(help="The run, or several; the latest under runs/ if not given.")
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", metavar="PATH", help="Where the text, or the images, of the run are now, if moved."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help=f"The page; {NAME} in the (first) run's folder if not given."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=2, help="Samples of each run, at each temperature.")] = 2000,
    temperatures: Annotated[
        str | None,
        typer.Option(
            metavar="T,T,…",
            help=f"Of text: temperatures of the samples and of the quality–diversity curve; {TEMPERATURES}.",
        ),
    ] = None,
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Write one self-contained HTML page about runs, on text or on images, and print its path.

    A summary, samples, scores, training curves, latents; of text quality and diversity, lengths and n-grams;
    of images samples over the training, reconstructions and maps of latents; settings.
    """
    grid = common.temperatures(temperatures or TEMPERATURES)
    common.check_file(out, ".html", ".htm")
    opened = _open(run)
    on_images = opened[0].config["verb"] == "image"
    if on_images and temperatures is not None:
        raise UserError(
            f"--temperatures are for text, and '{opened[0].path}' is a run on images; leave them out"
        )
    from seqgen.core import device as devices
    from seqgen.core.atomic_files import write_text

    devices.prepare(threads)
    target = out or opened[0].writable(NAME)
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    listed = ", ".join(str(each.path) for each in opened)
    if on_images:
        from seqgen.image import report as image_reports
        from seqgen.image.runs import load as image_load

        trained = [image_load.load(each, device, trust=trust, data=corpus) for each in opened]
        notify(f"run: {listed}; {n:,} samples, seed {seed}")
        page = image_reports.page(trained, n=n, seed=seed, notify=notify)
    else:
        from seqgen.report import page as reports
        from seqgen.training import load

        runs = [load.load(each, device, trust=trust, corpus=corpus) for each in opened]
        notify(f"run: {listed}; {n:,} samples at each temperature, seed {seed}")
        page = reports.page(runs, n=n, temperatures=grid, seed=seed)
    write_text(target, page)
    typer.echo(str(target))


def _open(paths: list[Path] | None) -> "list[Run]":
    """Open the runs named, or the newest one; UserError where some are on text and others on images."""
    from seqgen.training import job, run_folder

    if not paths:
        found = run_folder.newest(job.ROOT, lambda run: True)
        if found is None:
            raise UserError("no run under 'runs/'; run 'seqgen pretrain' first, or name one with --run")
        return [found]
    _check_different(paths)
    runs = [run_folder.open_run(path) for path in paths]
    on_images = [run.config["verb"] == "image" for run in runs]
    if any(on_images) and not all(on_images):
        text, images = (runs[on_images.index(each)].path for each in (False, True))
        raise UserError(f"'{text}' is a run on text and '{images}' one on images; report on them one by one")
    return runs


def _check_different(paths: list[Path]) -> None:
    """Raise UserError for duplicate runs."""
    twice = [path for i, path in enumerate(paths) if path.resolve() in map(Path.resolve, paths[:i])]
    if twice:
        raise UserError(f"--run '{twice[0]}' is given twice; name each once")
