"""The `seqgen` command: all subcommands, and user errors as one line with exit code 2.

Command modules import torch only when a command runs, so that `seqgen --help` is fast.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest

import typer

from seqgen.cli import (
    adversarial,
    bench,
    corpora,
    encode,
    evaluate,
    examples,
    export,
    interpolate,
    neighbours,
    output_encoding,
    pretrain,
    processes,
    reconstruct,
    replay,
    report,
    runs,
    sample,
    score,
    streams,
)
from seqgen.cli.image import main as image
from seqgen.cli.map import draw_map
from seqgen.core import memory, signals
from seqgen.core.errors import UserError, is_out_of_memory

app = typer.Typer(
    name="seqgen",
    help="Train small text generators on a file of sentences, sample from them, and measure them honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("pretrain")(pretrain.pretrain)
app.command("adversarial", epilog=adversarial.NAMES)(adversarial.adversarial)
app.command("sample")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("runs")(runs.runs)
app.command("replay")(replay.replay)
app.command("score")(score.score)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("interpolate")(interpolate.interpolate)
app.command("neighbours")(neighbours.neighbours)
app.command("encode")(encode.encode)
app.command("map")(draw_map)
app.add_typer(image.app, name="image")
app.add_typer(corpora.app, name="corpora")
app.add_typer(bench.app, name="bench")
examples.append_to(app)

USER_ERROR = 2
LONGEST = 1_000
"""Characters of an error, at most: what was given may itself be of any length."""
USAGE_ERROR = typer.BadParameter.__base__
"""Base class of the parser's errors; its module depends on the version of typer."""


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    processes.check_command(context.invoked_subcommand, (*processes.COMMANDS, "image"))
    if show:
        from importlib.metadata import version

        typer.echo(version("seqgen"))
        raise typer.Exit


PATHS = (
    *("--run", "--init", "--teacher", "--out", "--corpus", "--valid", "--test", "--config"),
    *("--hyp", "--ref", "--train", "--plot"),
)
"""Options that name a file or a folder."""
SPINS = "10000"
"""Spins of an idle OpenMP thread before it sleeps, about 30 µs: the default of GNU OpenMP, 300,000, halves
the speed of two threads if other processes use the cores, and is not faster if none do."""


def main() -> None:
    """Run the command line; the entry point of the `seqgen` script."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported, as is the next one
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what MPS lacks is computed on the CPU
    memory.bound_caches()
    output_encoding.prepare()
    with signals.raising(), streams.guarded(), one_line_errors():
        with processes.joined(), one_line_errors():
            _check_no_path_is_empty(sys.argv[1:])
            code = app(standalone_mode=False) or 0
        sys.exit(code)


def _check_no_path_is_empty(arguments: list[str]) -> None:
    """Raise UserError for a path that is empty, as an unset variable is: it would mean this folder."""
    for argument, following in zip_longest(arguments, arguments[1:]):
        option, equals, value = argument.partition("=")
        if option in PATHS and (value if equals else following) == "":
            raise UserError(f"{option} is empty; name a path, or leave it out")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors that a user can cause as one line on stderr and set the exit code; raise all others."""
    try:
        yield
    except UserError as error:
        _end(str(error), USER_ERROR)
    except USAGE_ERROR as error:  # type: ignore[misc]
        _end_usage(error)
    except signals.Terminated as error:
        _end(f"interrupted ({error})", 128 + error.number)
    except OSError as error:
        _end(_os_error(error), USER_ERROR)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _end(_out_of_memory(str(error)), USER_ERROR)
    except FloatingPointError as error:
        _end(f"training diverged: {error}; the last checkpoint is kept, try a lower --set lr=…", USER_ERROR)


def _out_of_memory(reason: str) -> str:
    """Say how much memory was wanted, if torch says it, and what to do."""
    asked = re.search(r"you tried to allocate (\d+) bytes", reason)
    if asked:
        return (
            f"the machine has no {int(asked[1]) / 1e9:,.1f} GB for one tensor more; use a smaller batch "
            "(--set batch_size=16), or smaller networks where they were made larger"
        )
    first = next(iter(reason.splitlines()), "out of memory.")  # Python's own error is empty
    return f"{first} Use a smaller batch (--set batch_size=16) or --device cpu"


def _end(message: str, code: int) -> None:
    line = " ".join(message.split())
    if processes.may_speak():
        shown = f"seqgen: {line if len(line) <= LONGEST else line[:LONGEST] + ' …'}"
        typer.echo(shown, file=processes.errors())
    sys.exit(code)


def _end_usage(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    message = error.format_message()  # type: ignore[attr-defined]
    if context is not None and message.lstrip().startswith("Usage:"):  # no command given: it is the help text
        typer.echo(message, err=True)
        sys.exit(USER_ERROR)
    where = context.command_path if context is not None else "seqgen"
    options = getattr(getattr(error, "param", None), "opts", ())
    given = next((found for option in options if (found := _given(option)) is not None), None)
    if given is not None:
        reason = str(getattr(error, "message", message)).replace("Input should be", "it should be")
        message = f"{given}: {reason}"
    _end(f"{message.rstrip('.')}. See '{where} --help'.", USER_ERROR)


def _given(option: str) -> str | None:
    """Return an option of the command line with its value; None where it is not there."""
    for argument, following in zip_longest(sys.argv, sys.argv[1:], fillvalue=""):
        if argument == option:
            return f"{option} {following}"
        if argument.startswith(f"{option}="):
            return argument
    return None


def _os_error(error: OSError) -> str:
    """Say what the operating system refused, and what to do about it."""
    place = f": '{error.filename}'" if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing '{error.filename}'" if error.filename is not None else ""
        return f"no space left on the disk{where}; make room and run the same command again"
    if error.errno == errno.EBADF and error.filename is None:
        return "standard output is closed; leave it open, or name a file with --out if the command has it"
    if error.errno == errno.EIO:
        return f"the disk reports a fault{place}; what was saved before stands, run the same command again"
    if error.errno == errno.EMFILE:
        return f"too many open files{place}; raise the limit with 'ulimit -n' and run the same command again"
    return f"{error.strerror or error}{place}; check the path and its permissions"


if __name__ == "__main__":
    main()
