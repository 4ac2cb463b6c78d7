"""Options and helpers that several commands share."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from seqgen.algorithms import Entry
    from seqgen.training.data_config import DataConfig
    from seqgen.training.load import Trained
    from seqgen.training.setup import Job

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads; the default of torch if not given.")
]
NAME_HELP = "An algorithm's name, or module:Class of one outside seqgen."
Corpus = Annotated[
    str | None,
    typer.Option(
        help="A built-in name, a file (.txt .csv .tsv .json .jsonl .parquet, or .gz), a folder, -, hf:NAME "
        "or oracle:NAME."
    ),
]
Column = Annotated[
    str | None, typer.Option(help="The text column of a table; its number if it has no header.")
]
Encoding = Annotated[str | None, typer.Option(help="The encoding of text that is not UTF-8.")]
Separator = Annotated[
    str | None,
    typer.Option(help="What stands between sentences of several lines: blank (a blank line) or a string."),
]
Valid = Annotated[str | None, typer.Option(help="A file held out for validation.")]
Test = Annotated[str | None, typer.Option(help="A file held out for the final measure.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="auto, word, character, bpe, byte, or a run or file to take it from.")
]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="Fold the case of the words.")]
MaxVocab = Annotated[int | None, typer.Option(min=5, help="Largest vocabulary.")]
MinCount = Annotated[
    int | None, typer.Option(min=1, help="Rarer words become unknown; 3 or less if not given.")
]
MaxLength = Annotated[int | None, typer.Option(min=2, help="Tokens a sentence, end included.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; repeatable.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings from a TOML file.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Length of training in steps.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Length of training in passes over the corpus.")
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a run that names code outside seqgen, which is executed.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors on stderr.")]
ListSettings = Annotated[bool, typer.Option("--settings", help="List the algorithm's settings and exit.")]


def seed_option(help: str) -> Any:
    """Return the option of a seed, within the range that every random number generator accepts."""
    return typer.Option(help=help, min=0, max=2**31 - 1)


def list_settings(name: str, registry: "Mapping[str, Entry]", values: Mapping[str, Any]) -> None:
    """Print every setting of an algorithm with its value and meaning, and exit.

    values: settings that the user gave; `generator.kind` brings those of another kind of generator.
    """
    from seqgen import algorithms
    from seqgen.core import settings

    config = settings.override(algorithms.get(name, registry).config(), values)
    typer.echo(settings.help_table(config))
    raise typer.Exit


def data_config(**options: Any) -> "DataConfig | None":
    """Return what the options of the data ask for; None where not one of them is given."""
    from seqgen.training.data_config import DataConfig

    given = {name: value for name, value in options.items() if value not in (None, False)}
    return DataConfig(**given) if given else None


def gather(config: Path | None, pairs: list[str] | None) -> dict[str, Any]:
    """Merge the settings of a TOML file with those of --set, which take precedence."""
    from seqgen.core import settings

    values = settings.flatten(settings.read_toml(config)) if config else {}
    return values | settings.parse_pairs(pairs or [])


def run_job(make: Callable[[], "Job"], *, threads: int | None, quiet: bool, then: str) -> None:
    """Train a job with a progress display and print its folder; exit 130 or 143 if interrupted."""
    from seqgen.cli.progress import Display
    from seqgen.core import device
    from seqgen.training.loop import Interrupted

    device.prepare(threads)
    job = make()
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    for note in job.notes:
        notify(note)
    notify(f"run: {job.run.path} ({job.run.config['algorithm']}, {job.plan.steps:,} steps, {job.device})")

    def train_fold(fold: "Job") -> None:
        notify(f"run: {fold.run.path} ({fold.plan.steps:,} steps)")
        with closing(Display(fold.run, fold.plan, quiet=quiet)) as display:
            fold.train(display)

    display = Display(job.run, job.plan, quiet=quiet)
    try:
        progress = job.train(display, train_fold=train_fold)
    except Interrupted as stop:
        display.close()
        notify(f"interrupted and saved at step {stop.step}; the same command resumes")
        raise typer.Exit(128 + stop.signal_number) from stop
    finally:
        display.close()
    notify(
        f"{progress.finished}, {progress.seconds:.0f} s of training; next: {then.format(run=job.run.path)}"
    )


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


def run_or_latest(path: Path | None) -> Path:
    """Return the given run folder, or the latest under runs/; UserError if there is none."""
    from seqgen.training import run_folder, setup

    found = path or run_folder.latest(setup.ROOT)
    if found is None:
        raise UserError("no run under 'runs/'; run 'seqgen pretrain' first, or name one with --run")
    return found


def load_run(path: Path | None, device: str, *, trust: bool) -> "Trained":
    """Read the run folder named, or the latest under runs/."""
    from seqgen.training import load

    return load.load(run_or_latest(path), device, trust=trust)


def check_file(out: Path | None) -> None:
    """Raise UserError if the output file is a folder, before the work begins."""
    if out is not None and out.is_dir():
        raise UserError(f"--out '{out}' is a folder; name a file")


def write_to(path: Path | None, write: Callable[[IO[str]], None]) -> None:
    """Write text to stdout as a stream, or to a file atomically."""
    if path is None:
        try:
            write(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader closed the pipe (`| head`). Without this, Python reports the error again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    from seqgen.core.atomic_files import write_atomic

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            write(file)

    write_atomic(path, fill)
