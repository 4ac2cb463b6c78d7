"""The signals by which a process is asked to end: collected by what can save itself first, else an exception.

SIGINT is Ctrl-C, SIGTERM comes from `kill` and from schedulers, SIGHUP from a terminal that closes. What the
caller had set to be ignored, as `nohup` does with SIGHUP, stays ignored.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """An ending signal came; no Exception, as KeyboardInterrupt is none, so that only the end catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def collected() -> Iterator[list[int]]:
    """Collect the numbers of ending signals in a list; a second one of a kind ends the process as usual."""
    caught: list[int] = []
    with _handled(ENDING, caught.append):
        yield caught


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise Terminated on every ending signal, also in place of SIGINT's KeyboardInterrupt."""

    def end(number: int) -> None:
        raise Terminated(number)

    with _handled(ENDING, end):
        yield


@contextlib.contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handle: Callable[[int], None]) -> Iterator[None]:
    """Handle the first of each of some signals, unless they are ignored; later ones as before."""
    previous: dict[int, Any] = {}

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, previous[number])
        handle(number)

    for number in numbers:
        handler = signal.getsignal(number)
        if handler in (signal.SIG_IGN, None):  # None: of code that is not Python's, which cannot be put back
            continue
        try:
            previous[number] = handler
            signal.signal(number, first)
        except ValueError:  # not the main thread: whoever runs there handles signals
            previous.clear()
            break
    try:
        yield
    finally:
        for handled, handler in previous.items():
            signal.signal(handled, handler)
