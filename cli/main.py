"""The `seqgen` command: all subcommands, and user errors as one line with exit code 2.

Command modules import torch only when a command runs, so that `seqgen --help` is fast.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from seqgen.cli import (
    adversarial,
    bench,
    corpora,
    encode,
    evaluate,
    interpolate,
    neighbours,
    output_encoding,
    pretrain,
    reconstruct,
    report,
    sample,
    score,
)
from seqgen.cli.image import main as image
from seqgen.cli.map import draw_map
from seqgen.core.errors import UserError

app = typer.Typer(
    name="seqgen",
    help="Train small text generators on a file of sentences, sample from them, and measure them honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("pretrain")(pretrain.pretrain)
app.command("adversarial")(adversarial.adversarial)
app.command("sample")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("score")(score.score)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("interpolate")(interpolate.interpolate)
app.command("neighbours")(neighbours.neighbours)
app.command("encode")(encode.encode)
app.command("map")(draw_map)
app.add_typer(image.app, name="image")
app.add_typer(corpora.app, name="corpora")
app.add_typer(bench.app, name="bench")

USER_ERROR = 2
INTERRUPTED = 130
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""Phrases in torch's errors for the memory of a GPU and of the machine."""
USAGE_ERROR = typer.BadParameter.__base__
"""Base class of the parser's errors; its module depends on the version of typer."""


@app.callback(invoke_without_command=True)
def _version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(version("seqgen"))
        raise typer.Exit


SPINS = "10000"
"""Spins of an idle OpenMP thread before it sleeps, about 30 µs: the default of GNU OpenMP, 300,000, halves
the speed of two threads if other processes use the cores, and is not faster if none do."""


def main() -> None:
    """Run the command line; the entry point of the `seqgen` script."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    output_encoding.prepare()
    with one_line_errors():
        sys.exit(app(standalone_mode=False) or 0)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors that a user can cause as one line on stderr and set the exit code; raise all others."""
    try:
        yield
    except UserError as error:
        _end(str(error), USER_ERROR)
    except USAGE_ERROR as error:  # type: ignore[misc]
        _end_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _end("interrupted", INTERRUPTED)
    except OSError as error:
        message = _os_error(error)
        if message is None:
            raise
        _end(message, USER_ERROR)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        _end(
            f"{str(error).splitlines()[0]} Use a smaller batch (--set batch_size=16) or --device cpu",
            USER_ERROR,
        )
    except FloatingPointError as error:
        _end(f"training diverged: {error}; the last checkpoint is kept, try a lower --set lr=…", USER_ERROR)


def _end(message: str, code: int) -> None:
    typer.echo("seqgen: " + " ".join(message.split()), err=True)
    sys.exit(code)


def _end_usage(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    message = error.format_message()  # type: ignore[attr-defined]
    if context is not None and message.lstrip().startswith("Usage:"):  # no command given: it is the help text
        typer.echo(message, err=True)
        sys.exit(USER_ERROR)
    where = context.command_path if context is not None else "seqgen"
    _end(f"{message} See '{where} --help'.", USER_ERROR)


def _os_error(error: OSError) -> str | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" while writing '{error.filename}'" if error.filename else ""
        return f"no space left on the disk{place}; make room and run the same command again"
    if error.filename is not None and error.errno in (
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.EEXIST,
    ):
        return f"{error.strerror}: '{error.filename}'; check the path and its permissions"
    return None


if __name__ == "__main__":
    main()
