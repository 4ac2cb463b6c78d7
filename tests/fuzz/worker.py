"""A process that makes cases, reads them, and says what came of each: read, refused in one line, or neither.

A case has a time limit, and a limit of the memory that it may take. Whatever it is about to read lies on disk
first, so that the process that started this one keeps the input of a crash.
"""

import contextlib
import io
import itertools
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

SECONDS = 10.0
"""Time of a case: of the processor, so that other work on the machine does not matter."""
MEGABYTES = 500
"""Memory of a case, beside what the process had before."""
ADDRESS_SPACE = 4 << 30
"""Bytes that a case may map, beside what the process has: oneDNN's kernels stay mapped from case to case."""
TURN = 0.3
"""Seconds that a reader has before it is the next one's turn: cheap cases are made more often."""
SWEEP_EVERY = 10
"""Rounds after which what cases left in the cache is deleted."""
OUT_OF_MEMORY = ("out of memory", "allocate")
"""What a line says where memory was asked for that there was not."""
LONGEST_LINE = 2_000


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    reader: str
    number: int
    refused: bool = False
    problem: str = ""
    """What went wrong, in one line; empty where the case was read or refused in one line."""
    details: str = ""
    """The traceback, if any."""
    content: bytes = b""
    """Of the file, where there was a problem."""


class TimeLimit(BaseException):
    """A case took too long: nothing that catches an Exception catches it."""


def work(world: Path, first: Mapping[str, int], end: float, seed: int, connection: Connection) -> None:
    """Make and read cases of readers in turn, each from a number on, up to `end`.

    Before a case its reader and number are sent, after it the outcome. A case follows from the seed, its
    reader and its number.
    """
    os.environ["SEQGEN_CACHE"] = str(world / "cache")
    os.chdir(world)
    import torch

    from .readers import READERS, build_world

    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):
        build_world(world)
        for name in first:  # what is imported on the way is no cost of a case
            for read in READERS[name].reads:
                read(READERS[name].place(world, READERS[name].seeds(world)[0]))
    kept: dict[str, dict[str, Sequence[bytes]]] = {name: {} for name in first}
    numbers = dict(first)
    for turn in itertools.count():
        left = [name for name in first if numbers[name] < end]
        if not left:
            return
        for name in left:
            reader, started = READERS[name], time.monotonic()
            while numbers[name] < end and time.monotonic() - started < TURN:
                connection.send((name, numbers[name]))
                rng = random.Random(f"{seed} {name} {numbers[name]}")
                path = reader.place(world, reader.case(world, rng, kept[name]))
                limit_memory()
                outcome = judge(name, numbers[name], reader.reads, path)
                if outcome.problem:
                    outcome = replace(outcome, content=path.read_bytes())
                connection.send(outcome)
                numbers[name] += 1
        if turn % SWEEP_EVERY == 0:
            shutil.rmtree(world / "cache", ignore_errors=True)


def limit_memory() -> None:
    """Let the process map `ADDRESS_SPACE` more bytes than it has now."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESS_SPACE, most))


def judge(name: str, number: int, reads: Sequence, path: Path) -> Outcome:
    """Read a case in every way, and return the first that is neither success nor one line."""
    refused = False
    for read in reads:
        _forget_peak()
        before, started = _status("VmRSS"), time.monotonic()
        error, problem, details = io.StringIO(), "", ""
        try:
            with _time_limit(), contextlib.redirect_stderr(error), _one_line_errors():
                read(path)
        except SystemExit:
            refused = True
            problem = _problem_of_line(error.getvalue())
            details = error.getvalue()
        except BaseException as caught:  # noqa: BLE001 - a panic of a library in Rust is no Exception
            problem = f"{type(caught).__name__}: {' '.join(str(caught).split())[:200]}"
            details = traceback.format_exc()
        used = (_status("VmHWM") - before) >> 20
        problem = problem or (f"{used} MB of memory" if used > MEGABYTES else "")
        if problem:
            seconds = time.monotonic() - started
            way = getattr(read, "__name__", "read")
            return Outcome(name, number, refused, problem, f"{way}, {seconds:.1f} s, {used} MB\n{details}")
    return Outcome(name, number, refused)


def _problem_of_line(printed: str) -> str:
    """Return what is wrong with what a command prints where it refuses something; empty where nothing is."""
    lines = printed.splitlines()
    if len(lines) != 1 or not lines[0].startswith("seqgen: ") or len(lines[0]) > LONGEST_LINE:
        return f"not one line but {len(lines)}, of {len(printed)} characters"
    if any(sign in lines[0] for sign in OUT_OF_MEMORY):
        return f"memory was asked for that there was not: {lines[0][:200]}"
    return ""


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    from seqgen.cli.main import one_line_errors

    with one_line_errors():
        yield


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"more than {SECONDS:g} s")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _status(name: str) -> int:
    """Return a size of this process that Linux gives, in bytes: VmSize, VmRSS, VmHWM (the peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def _forget_peak() -> None:
    """Let the peak of the resident memory begin again from what it is now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
