"""Atomic writes: a file has its old content or all of the new, whenever it is read."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from seqgen.core.errors import UserError


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` write a temporary file in the folder of `path`, flush it to disk and rename it to `path`.

    A reader of `path` sees the old content or all of the new. If anything fails, the old content stays. Raise
    UserError if the disk is full, OSError of `path` for other failures of the file system.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left on the disk while writing '{path}', which stays as it was; "
                "make room and run the same command again"
            ) from error
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # not the temporary file
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8; a byte of a path that is no UTF-8 becomes an escape of JSON."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)
