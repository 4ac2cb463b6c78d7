"""Options that several commands share, and how a training command runs its job."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from seqgen.training.setup import Job

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads; torch's own choice if not given.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; repeatable.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings from a TOML file.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Length of training in steps.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Length of training in passes over the corpus.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing on stderr but errors.")]
ListSettings = Annotated[bool, typer.Option("--settings", help="List the algorithm's settings and exit.")]


def seed_option(help: str) -> Any:
    """Return the option of a seed: what every generator of random numbers takes."""
    return typer.Option(help=help, min=0, max=2**31 - 1)


def list_settings(name: str, registry: dict[str, str]) -> None:
    """Print every setting of an algorithm with its default and meaning, and exit."""
    from seqgen import algorithms
    from seqgen.core import settings

    typer.echo(settings.help_table(algorithms.get(name, registry).Config))
    raise typer.Exit


def gather(config: Path | None, pairs: list[str] | None) -> dict[str, Any]:
    """Put the settings of a TOML file and of --set together; the latter win."""
    from seqgen.core import settings

    values = settings.flatten(settings.read_toml(config)) if config else {}
    return values | settings.parse_pairs(pairs or [])


def run_job(make: Callable[[], "Job"], *, threads: int | None, quiet: bool, then: str) -> None:
    """Train a job to its end with a display, and say where the run is; exit 130 or 143 if interrupted."""
    from seqgen.cli.progress import Display
    from seqgen.core import device
    from seqgen.training.loop import Interrupted

    device.prepare(threads)
    job = make()
    say = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    for note in job.notes:
        say(note)
    say(f"run: {job.run.path} ({job.run.config['algorithm']}, {job.plan.steps:,} steps, {job.device})")
    display = Display(job.run, job.plan, quiet=quiet)
    try:
        progress = job.train(display)
    except Interrupted as stop:
        display.close()
        say(f"interrupted and saved at step {stop.step}; the same command resumes")
        raise typer.Exit(128 + stop.signal_number) from stop
    finally:
        display.close()
    say(f"{progress.finished}, {progress.seconds:.0f} s of training; next: {then.format(run=job.run.path)}")


def temperatures(listed: str) -> list[float]:
    """Read temperatures with commas between; UserError where one is no number from 0 on."""
    try:
        grid = [float(each) for each in listed.split(",")]
    except ValueError:
        grid = []
    if not grid or not all(0 <= each < float("inf") for each in grid):
        raise UserError(f"--temperatures '{listed}': numbers from 0 on with commas between, as in 0.7,0.85,1")
    return grid


def run_or_latest(path: Path | None) -> Path:
    """Return the run folder named, or the latest under runs/; UserError where there is none."""
    from seqgen.training import run_folder, setup

    found = path or run_folder.latest(setup.ROOT)
    if found is None:
        raise UserError("no run under 'runs/'; run 'seqgen pretrain' first, or name one with --run")
    return found


def check_file(out: Path | None) -> None:
    """Raise UserError where a file to write is a folder, before the work of filling it begins."""
    if out is not None and out.is_dir():
        raise UserError(f"--out '{out}' is a folder; name a file")


def write_to(path: Path | None, write: Callable[[IO[str]], None]) -> None:
    """Write text to stdout as it comes, or to a file that appears only once it is whole."""
    if path is None:
        try:
            write(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough (`| head`). Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    from seqgen.core.atomic_files import write_atomic

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            write(file)

    write_atomic(path, fill)
