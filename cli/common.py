"""Options and helpers that several commands share."""

import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import streams
from seqgen.core import launcher
from seqgen.core.atomic_files import is_written_in_place, write_atomic
from seqgen.core.errors import Notice, UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.algorithms import Entry
    from seqgen.training.load import Trained
    from seqgen.training.run_folder import Run
    from seqgen.training.setup import Job

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads; the default of torch if not given.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Let torch compile the networks; the first steps take longer.")
]
NAME_HELP = "An algorithm's name, or module:Class of one outside seqgen."
Column = Annotated[
    str | None, typer.Option(help="The text column of a table; its number if it has no header.")
]
Encoding = Annotated[str | None, typer.Option(help="The encoding of text that is not UTF-8.")]
Separator = Annotated[
    str | None,
    typer.Option(help="What stands between sentences of several lines: blank (a blank line) or a string."),
]
Teacher = Annotated[
    Path | None,
    typer.Option(help="A run whose embeddings of sentences it learns as well, by a contrastive loss."),
]
Moved = Annotated[
    str | None,
    typer.Option("--corpus", metavar="PATH", help="Where the text of the run is now, if it has moved."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; repeatable.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings from a TOML file.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Length of training in steps.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Length of training in passes over the corpus.")
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes", help="Length of training in minutes: times the first steps, and fixes their number."
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a run that names code outside seqgen, which is executed.")
]
LIBRARIES_QUIET = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""The environment by which the libraries of datasets draw no progress bar; they read it when imported."""


def _silence(quiet: bool) -> bool:
    """Keep the libraries quiet as well: their progress bars, and warnings, which are no errors."""
    if quiet:
        os.environ.update(LIBRARIES_QUIET)
        warnings.simplefilter("ignore")
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors on stderr.", callback=_silence)]
ListSettings = Annotated[bool, typer.Option("--settings", help="List the algorithm's settings and exit.")]


def seed_option(help: str) -> Any:
    """Return the option of a seed, within the range that every random number generator accepts."""
    return typer.Option(help=help, min=0, max=2**31 - 1)


def list_settings(name: str, registry: "Mapping[str, Entry]", values: Mapping[str, Any]) -> None:
    """Print every setting of an algorithm with its value and meaning, and where its metrics are, and exit.

    values: settings that the user gave; `generator.kind` brings those of another kind of generator.
    """
    from seqgen import algorithms
    from seqgen.core import settings

    entry = algorithms.get(name, registry)
    typer.echo(settings.help_table(settings.override(entry.config(), values)))
    typer.echo(f"\nmetrics: python -m pydoc {entry.cls.__module__}")
    raise typer.Exit


def gather(config: Path | None, pairs: list[str] | None) -> dict[str, Any]:
    """Merge the settings of a TOML file with those of --set, which take precedence."""
    from seqgen.core import settings

    values = settings.flatten(settings.read_toml(config)) if config else {}
    return values | settings.parse_pairs(pairs or [])


def run_job(make: Callable[[], "Job"], *, threads: int | None, quiet: bool, then: str) -> None:
    """Train a job with a progress display and print its folder; exit 130, 143 or 129 if asked to end."""
    from seqgen.cli import learning_curve, terminal
    from seqgen.cli.progress import Display
    from seqgen.core import device
    from seqgen.training.loop import Interrupted

    device.prepare(threads)
    job = make()
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    for note in job.notes:
        notify(note)
    alone = getattr(getattr(job.algorithm, "config", None), "discriminator_pretraining_steps", 0)
    steps = f"{job.run.config['steps']:,} steps" + (
        f", {alone:,} of the discriminator alone" if alone else ""
    )
    notify(f"run: {job.run.path} ({job.run.config['algorithm']}, {steps}, {job.device})")

    def train_fold(fold: "Job") -> None:
        notify(f"run: {fold.run.path} ({fold.plan.steps:,} steps)")
        with closing(Display(fold.run, fold.plan, quiet=quiet)) as display:
            fold.train(display)

    try:
        with _telling_notices(notify), closing(Display(job.run, job.plan, quiet=quiet)) as display:
            progress = job.train(display, train_fold=train_fold)
    except Interrupted as stop:
        notify(f"interrupted and saved at step {stop.step}; the same command resumes")
        raise typer.Exit(128 + stop.signal_number) from stop
    rows = job.run.metrics()
    if rows and (remark := job.algorithm.remark(rows[-1])):
        notify(f"warning: {remark}")
    monitor = job.algorithm.monitor or "valid_nll"
    for drawn in learning_curve.draw(rows, monitor, columns=min(terminal.width(), 80)):
        notify(drawn)
    notify(
        f"{progress.finished}, {progress.seconds:.0f} s of training; "
        f"next: {then.format(run=shlex.quote(str(job.run.path)))}"
    )


@contextmanager
def _telling_notices(notify: Callable[[str], None]) -> Iterator[None]:
    """Tell a `Notice` within a `with` block as the line that it is; other warnings are shown as ever."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, Notice):
            notify(str(message))
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def chosen(what: str, listed: str, known: Sequence[str]) -> list[str]:
    """Parse comma-separated names; UserError where one is unknown."""
    parts = [part.strip() for part in listed.split(",")]
    for part in parts:
        if part not in known:
            raise UserError(f"no {what} '{part}'{did_you_mean(part, known)}")
    return parts


def temperatures(listed: str) -> list[float]:
    """Parse comma-separated temperatures; UserError if one is not a number of at least 0."""
    try:
        grid = [float(each) for each in listed.split(",")]
    except ValueError:
        grid = []
    if not grid or not all(0 <= each < float("inf") for each in grid):
        raise UserError(
            f"--temperatures '{listed}': give comma-separated numbers of at least 0, as in 0.7,0.85,1"
        )
    return grid


def run_or_latest(path: Path | None, *, with_latents: bool = False) -> Path:
    """Return the given run folder, or the newest under runs/ that fits; UserError if there is none.

    with_latents: whether only a run that has latents fits.
    """
    from seqgen import algorithms
    from seqgen.training import run_folder, setup

    if path is not None:
        return path

    def fits(run: "Run") -> bool:
        entry = (algorithms.PRETRAIN | algorithms.ADVERSARIAL).get(str(run.config["algorithm"]))
        has_latents = entry is None or entry.cls.latent  # of a class outside the package nothing is known yet
        return run.config["verb"] != "image" and (has_latents or not with_latents)

    found = run_folder.newest(setup.ROOT, fits)
    if found is None:
        command = "pretrain sentence-vae" if with_latents else "pretrain"
        kind = "with latents " if with_latents else ""
        raise UserError(f"no run {kind}under 'runs/'; run 'seqgen {command}' first, or name one with --run")
    return found.path


def load_run(
    path: Path | None, device: str, *, trust: bool, corpus: str | None = None, with_latents: bool = False
) -> "Trained":
    """Read the run folder named, or the newest under runs/ that fits; corpus: where its text is now."""
    from seqgen.training import load

    found = run_or_latest(path, with_latents=with_latents)
    return load.load(found, device, trust=trust, corpus=corpus)


def check_file(out: Path | None, *endings: str, option: str = "--out") -> None:
    """Raise UserError if an output file cannot be written, before the work begins.

    endings: those that its name may have; what is no ordinary file, such as a pipe, may have any name.
    """
    if out is None or is_written_in_place(out):
        return
    if out.is_dir():
        raise UserError(f"{option} '{out}' is a folder; name a file in it")
    if endings and out.suffix.lower() not in endings:
        raise UserError(f"{option} '{out}' does not end in {endings[0]}, the only format written")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"{option} '{out}' cannot be written: '{folder}' is not a folder, or you may not write to it"
        )


def label_weights(pairs: list[str] | None) -> dict[str, float] | None:
    """Parse labels with or without a weight, NAME or NAME=WEIGHT; UserError where one is given twice."""
    if not pairs:
        return None
    found: dict[str, float] = {}
    for pair in pairs:
        name, has_weight, weight = pair.rpartition("=")
        try:
            name, value = (name, float(weight)) if has_weight else (pair, 1.0)
        except ValueError:
            name, value = pair, 1.0  # a label may hold the sign itself
        if name in found:
            raise UserError(f"--label '{name}' is given twice; give its weight as --label {name}=2")
        found[name] = value
    return found


def write_to(path: Path | None, write: Callable[[IO[str]], None]) -> None:
    """Write text to stdout as a stream, or to a file atomically; of several processes the first one does."""
    if not launcher.is_first():
        write(sys.stdout)  # which is silent: to take part in what is written
        return
    if path is None:
        try:
            write(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            streams.discard(sys.stdout)  # the reader closed the pipe (`| head`)
        return

    def fill(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        write(text)
        text.detach()

    write_atomic(path, fill)
