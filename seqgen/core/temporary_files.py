"""Temporary files that do not outlive their writer: those of a killed process are removed by the next one.

A writer holds a lock of the operating system on its file, which ends with the process however that ends. A
file that nobody holds has been left behind. No clock, number of a process or name of a machine is asked, any
of which could take the file of a living writer for one of a dead one.

Windows has no such locks, and neither removes nor renames a file that is open: there a file is closed before
it gets its name, and what a killed process left behind stays.
"""

import contextlib
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAMES = ".seqgen-*.tmp"
"""The names of temporary files; they do not depend on that of the file to be, which may be as long as a name
can be."""


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a new file in a folder for writing, locked; remove it at the end, unless it has been renamed.

    Files in the folder whose writer is gone are removed first, once for each process.
    """
    remove_abandoned(folder)
    path, file = _created(folder)
    try:
        yield path, file
    finally:
        if fcntl is None:
            file.close()
        path.unlink(missing_ok=True)
        file.close()


def put_in_place(temporary: Path, file: IO[bytes], target: Path) -> None:
    """Give a temporary file that is open, and written to the disk, its name in place of what bore it."""
    if fcntl is None:
        file.close()
    temporary.replace(target)


def replace_link(link: Path, target: str) -> None:
    """Make a link name another target, in one step."""
    with temporary_file(link.parent) as (path, _):  # which is locked, as a link cannot be
        beside = _link_of(path)
        beside.symlink_to(target)
        beside.replace(link)


@functools.cache
def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in a folder whose writer is gone, where the system can say whose is."""
    if fcntl is None:
        return
    for path in folder.glob(NAMES):
        with contextlib.suppress(OSError):  # a writer holds it, or has just removed it
            if path.is_symlink():
                continue  # it goes with the file of its writer
            opened = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _link_of(path).unlink(missing_ok=True)
                path.unlink()
            finally:
                os.close(opened)


def _link_of(path: Path) -> Path:
    """Return the name of the temporary link beside a temporary file."""
    return path.with_name(f"{path.stem}-link.tmp")


def _created(folder: Path) -> tuple[Path, IO[bytes]]:
    while True:
        path = folder / f".seqgen-{secrets.token_hex(8)}.tmp"
        file = path.open("xb")
        if fcntl is None:
            return path, file
        with contextlib.suppress(OSError):  # a disk without locks: what is left behind there stays
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another process took it for abandoned before it was locked
