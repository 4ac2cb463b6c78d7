"""Atomic writes: a file has its old content or all of the new, whenever it is read."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from seqgen.core.errors import UserError
from seqgen.core.temporary_files import put_in_place, temporary_file


def write_atomic(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it to `path`.

    A reader of `path` sees the old content or all of the new. If anything fails, the old content stays. A
    link is followed: the file that it names is written. What is no regular file (a device, a FIFO,
    `/dev/stdout`) is written in place. Raise UserError if the disk is full, OSError of `path` for other
    failures of the file system.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if is_written_in_place(path):
        with naming_file(path, ";"), path.open("ab") as file:
            write(file)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        naming_file(path, ", which stays as it was;"),
        temporary_file(target.parent) as (temporary, file),
    ):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        put_in_place(temporary, file, target)


def is_written_in_place(path: Path) -> bool:
    """Whether a path names a device, a FIFO, a socket, or an open file of a process, as `/dev/stdout` does.

    Renaming a file to it would put an ordinary file in its place: a root user would replace `/dev/null`.
    """
    if not path.exists():
        return False
    return not (path.is_file() or path.is_dir()) or _is_open_file(path)


def _is_open_file(path: Path) -> bool:
    """Whether a path leads through the open files of a process: what is redirected is not to be replaced."""
    for _ in range(40):  # as many links as Linux follows
        if path.parent.resolve().match("/proc/*/fd") or path.parent == Path("/dev/fd"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


@contextmanager
def naming_file(path: Path, kept: str) -> Iterator[None]:
    """Raise a failure of the file system as one of `path`, not of the temporary file.

    kept: what became of what was there, for the UserError of a full disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left on the disk while writing '{path}'{kept} "
                "make room and run the same command again"
            ) from error
        error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8; a byte of a path that is no UTF-8 becomes an escape of JSON."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""

    def write(file: IO[bytes]) -> None:
        file.write(content)

    write_atomic(path, write)
