"""Standard output and error of the commands: control characters are escaped, and trouble ends no training.

On a terminal no corpus path, run name or sample reaches it raw. What goes to a file or a pipe by standard
output is left as it is. Messages on standard error are a courtesy: where it is closed or full, or its reader
is gone, the rest of them is dropped. Standard output is the result of a command, so there trouble ends it.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from seqgen.core.printable import printable


class Terminal(io.TextIOBase):
    """A stream whose text is made printable before it is written."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self.stream.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the stream below does with what it cannot encode."""
        return self.stream.errors

    def write(self, text: str) -> int:
        """Write text with its control characters escaped."""
        if not isinstance(text, str):
            raise TypeError(f"a stream of text takes str, not {type(text).__name__}")
        self.stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self.stream.fileno()


class Messages(Terminal):
    """Standard error, which drops what it cannot write."""

    def write(self, text: str) -> int:
        """Write text, or drop it and all that follows."""
        with _dropping(self.stream):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream below, or drop what it holds."""
        with _dropping(self.stream):
            self.stream.flush()


class Bars(Messages):
    """Standard error for progress bars, which move the cursor themselves."""

    def write(self, text: str) -> int:
        """Write text as it is, or drop it and all that follows."""
        with _dropping(self.stream):
            self.stream.write(text)
        return len(text)


def for_bars() -> Bars:
    """Return standard error for a progress bar."""
    return Bars(sys.stderr.stream if isinstance(sys.stderr, Terminal) else sys.stderr)


@contextlib.contextmanager
def _dropping(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError:
        discard(stream)
    except ValueError:  # it has been closed
        return


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere: Python flushes it once more at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Replace `sys.stdout`, where it is a terminal, and `sys.stderr` by streams as above.

    A descriptor that the caller has closed is opened, so that no file of a run gets its number: reading it
    gives nothing, messages are dropped, and writing a result is an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if name == "stderr" else "r"
            _reopen(number, os.O_WRONLY if mode == "w" else os.O_RDONLY)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout = Terminal(stdout) if stdout.isatty() else stdout
    sys.stderr = Messages(stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        for stream in (stdout, stderr):
            try:
                stream.flush()
            except OSError:  # the command has said so
                discard(stream)
            except ValueError:
                pass


def _reopen(number: int, flags: int) -> None:
    """Open the null device as a descriptor, if it is closed."""
    try:
        os.fstat(number)
    except OSError:
        found = os.open(os.devnull, flags)
        if found != number:
            os.dup2(found, number)
            os.close(found)
