"""Separate random states: of each training in a process, and of what is drawn for a report.

torch has one generator for each device and draws from it whatever asks, in any thread. A training therefore
owns a `RandomStream`, and draws only within turns of it: two trainings in two threads take turns, and each
draws the numbers that it would draw alone.
"""

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType

import torch
from torch import Tensor

DeviceStates = dict[str, list[Tensor]]
"""The random state of each device of a kind, by `cuda` and `mps`."""


def device_states() -> DeviceStates:
    """Return the random states of the accelerators that torch may draw on: CUDA devices in use, and MPS."""
    states = {}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = [torch.mps.get_rng_state()]
    return states


def set_device_states(states: DeviceStates) -> None:
    """Put random states of accelerators back, of those kinds that there are here."""
    if states.get("cuda") and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    if states.get("mps") and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"][0])


class RandomStream:
    """The random numbers of one training; `with stream:` is a turn, in which torch draws from it.

    A new stream goes on from the numbers that torch has at its first turn. A turn may contain turns of other
    streams, and waits for those of other threads.
    """

    _turns = threading.RLock()
    _holder: "RandomStream | None" = None
    """The stream in whose turn the process is."""
    _last: "RandomStream | None" = None
    """The stream whose numbers torch's generators hold, within a turn and after it."""

    def __init__(self) -> None:
        self._saved: tuple[Tensor, DeviceStates] | None = None
        self._outer: list[RandomStream | None] = []

    def __enter__(self) -> "RandomStream":
        self._turns.acquire()
        self._outer.append(RandomStream._holder)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outer = self._outer.pop()
        RandomStream._holder = None
        if outer is not None:
            outer._take()
        self._turns.release()

    def _take(self) -> None:
        """Put this stream's state into torch's generators, where another stream has used them since."""
        RandomStream._holder = self
        if RandomStream._last is self:
            return
        if RandomStream._last is not None:
            RandomStream._last._saved = torch.get_rng_state(), device_states()
        if self._saved is not None:
            host, on_devices = self._saved
            torch.set_rng_state(host)
            set_device_states(on_devices)
        RandomStream._last = self


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Draw apart from every training, within a `with` block; in a turn of a stream, from that."""
    with RandomStream._turns, contextlib.nullcontext() if RandomStream._holder else RandomStream():
        yield


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed torch within a `with` block, and restore its random state on every device at the end."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with apart(), torch.random.fork_rng(devices=devices):
        before = device_states()
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if "mps" in before:  # which fork_rng leaves as it is
                set_device_states({"mps": before["mps"]})
