"""The signals by which a process is asked to end: collected by what can save itself first, else an exception.

SIGINT is Ctrl-C, SIGTERM comes from `kill` and from schedulers, SIGHUP (not on Windows) from a terminal that
closes. What the caller had set to be ignored, as `nohup` does with SIGHUP, stays ignored.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

ENDING = tuple(each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP"))


class Terminated(BaseException):
    """An ending signal came; no Exception, as KeyboardInterrupt is none, so that only the end catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class BrokenOff(BaseException):
    """An ending signal broke off what could be broken off; no Exception, as `Terminated` is none."""


class Caught(list[int]):
    """The numbers of the ending signals that came, one at most: the next ends the process."""

    breaks_off = False
    """Whether a signal raises BrokenOff where it comes."""

    def take(self, number: int) -> None:
        """Note a signal, and raise BrokenOff within a block of `breaking_off`."""
        self.append(number)
        if self.breaks_off:
            self.breaks_off = False  # what clears up after the exception is not broken off in its turn
            raise BrokenOff

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Raise BrokenOff within a `with` block as soon as a signal comes, at once where one has come."""
        try:
            self.breaks_off = True
            if self:
                raise BrokenOff
            yield
        finally:
            self.breaks_off = False


@contextlib.contextmanager
def collected() -> Iterator[Caught]:
    """Collect the number of an ending signal; a second one, of whatever kind, ends the process as usual."""
    caught = Caught()
    with _handled(ENDING, caught.take, then_all=True):
        yield caught


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise Terminated on every ending signal, also in place of SIGINT's KeyboardInterrupt."""

    def end(number: int) -> None:
        raise Terminated(number)

    with _handled(ENDING, end):
        yield


@contextlib.contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handle: Callable[[int], None], *, then_all: bool = False
) -> Iterator[None]:
    """Handle the first of each of some signals, unless they are ignored; later ones as before.

    then_all: after the first of any kind, those of every kind are handled as before.
    """
    previous: dict[int, Any] = {}

    def first(number: int, frame: FrameType | None) -> None:
        for each in previous if then_all else (number,):
            signal.signal(each, previous[each])
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
