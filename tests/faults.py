"""Faults inside writes: at one of the steps of a process, an error of the disk or the death of the process.

`install` is for a process of its own, as it changes functions of the system and never puts them back.
"""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqgen.core import partial_files, temporary_files

DEATHS = ("short", "before", "after")
"""Killed after half of what is written or flushed has reached the disk; before a step, after it."""
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
KINDS = (*ERRORS, *DEATHS)


def kill() -> None:
    """End this process as a power cut would: nothing of it runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


class Faults:
    """Lists the steps of all writes of a process, w(rite), f(lush to disk), r(ename), and strikes at one."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind, self.at = kind, at
        self.steps: list[str] = []

    def step(self, name: str, do: Callable[[], Any], half: Callable[[], Any] = lambda: None) -> Any:
        """Do a step of a write, unless it is the one to strike; `half` leaves it half done."""
        self.steps.append(name)
        if len(self.steps) - 1 != self.at:
            return do()
        if self.kind in ERRORS:
            half()
            raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]))
        if self.kind == "short":
            half()
        if self.kind == "after":
            do()
        return kill()


class FaultyFile:
    """A temporary or partial file whose writes may fail."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> int:
        part = memoryview(content).cast("B")

        def half() -> None:
            self.file.write(part[: len(part) // 2])
            self.file.flush()

        return self.faults.step("w", lambda: self.file.write(content), half)


def install(kind: str, at: int) -> Faults:
    """Let the step `at` of the writes of this process, from 0 on, fail in a way; -1 only lists them."""
    faults = Faults(kind, at)
    created, opened = temporary_files._created, partial_files._opened
    fsync, replace = os.fsync, os.replace

    def cut(number: int) -> None:
        if os.access(Path(f"/proc/self/fd/{number}"), os.W_OK):
            os.ftruncate(number, max(0, os.fstat(number).st_size - 7))

    def faulty(folder: Path) -> tuple[Path, Any]:
        path, file = created(folder)
        return path, FaultyFile(file, faults)

    temporary_files._created = faulty
    partial_files._opened = lambda part: FaultyFile(opened(part), faults)
    partial_files.SAVE_SECONDS = 0.0  # as if sampling took hours
    os.fsync = lambda number: faults.step("f", lambda: fsync(number), lambda: cut(number))
    os.replace = lambda old, new, **options: faults.step("r", lambda: replace(old, new, **options))
    return faults
