"""A folder that one process writes to: its lock, and what else could lead a write to another place."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

import filelock

from seqgen.core.errors import UserError
from seqgen.core.file_locks import is_without_locks

LOCK = ".lock"


def take_lock(path: Path) -> AbstractContextManager[object]:
    """Take the lock of a folder: the system's, or where the disk has none, a file that names its process."""
    try:
        return filelock.FileLock(path / LOCK, timeout=0).acquire()
    except filelock.Timeout as error:
        raise _being_trained(path, "") from error
    except (NotImplementedError, OSError) as error:
        if not is_without_locks(error):
            raise
    try:
        return filelock.SoftFileLock(path / ".lock.pid", timeout=0).acquire()
    except filelock.Timeout as error:
        raise _being_trained(path, f"; if none is, remove '{path / '.lock.pid'}'") from error


def _being_trained(path: Path, hint: str) -> UserError:
    return UserError(f"another process is training in '{path}'; wait for it or choose another --run{hint}")


def is_at(path: Path, held: int) -> bool:
    """Whether a path still names the folder of a descriptor."""
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except OSError:
        return False


def check_link(path: Path, folder: Path) -> None:
    """Raise UserError where a part of a folder is a link that leads out of it: writing would follow it."""
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"'{path}' is a link to '{path.resolve()}', outside of the run, which would be written to; "
            "remove the link"
        )
