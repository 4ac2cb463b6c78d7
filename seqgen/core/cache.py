"""The cache folder: atomic entries, each a folder of files, and memory-mapped files."""

import hashlib
import json
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock

from seqgen.core.errors import UserError
from seqgen.core.file_locks import is_without_locks

ABANDONED = 24 * 3600
"""Age in seconds after which an unfinished entry is deleted, as left behind by a killed process."""

FILES = "files.json"
"""The file of each entry that lists the other files with their SHA-256."""

LOCK = ".lock"
"""The file of the cache folder that is locked while an entry takes its place."""


def folder() -> Path:
    """Return the cache folder: `$SEQGEN_CACHE`, else `$XDG_CACHE_HOME/seqgen`, else `~/.cache/seqgen`.

    Raise UserError if that is in a home folder and the user has none, as in many containers.
    """
    given = os.environ.get("SEQGEN_CACHE")
    place = Path(given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "seqgen")
    try:
        return place.expanduser()
    except RuntimeError as error:
        raise UserError(
            f"no home folder is known for the cache folder '{place}'; set HOME to one, or SEQGEN_CACHE to a "
            "folder for the cache"
        ) from error


@contextmanager
def writing() -> Iterator[None]:
    """Raise UserError in place of an OSError from writing to the cache folder: disk full, no permission."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write the cache folder {folder()}: {reason}; "
            "make room there, or set SEQGEN_CACHE to a folder that has it"
        ) from error


def entry(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder of the entry `kind`/`key`; if there is none yet, `fill(folder)` writes it first.

    `fill` writes to a temporary folder, which is renamed once all its files are flushed to disk, so an entry
    is complete even if a process is killed while writing it. If several processes write an entry at once, the
    first to finish provides it for all. An entry with a file that is missing or has changed is written again.
    Raise UserError if the cache folder cannot be written; if `fill` raises, nothing is left behind.
    """
    place = folder() / kind / key
    if _is_complete(place):
        return place
    with writing():
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        draft = place.parent / f".{key}.{secrets.token_hex(4)}"
        draft.mkdir()
        try:
            fill(draft)
            _seal(draft)
            _publish(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place


def map_file(path: Path) -> mmap.mmap | bytes:
    """Memory-map a file for reading. An empty file, which cannot be mapped, gives empty bytes."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_array(path: Path, dtype: type | np.dtype) -> np.ndarray:
    """Memory-map a file of raw numbers for reading; (N,)."""
    mapped = map_file(path)
    return np.frombuffer(mapped, dtype) if mapped else np.empty(0, dtype)


def release(mapped: mmap.mmap | bytes) -> None:
    """Release the resident pages of a mapped file, so that reading all of it does not fill the memory."""
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _is_complete(place: Path) -> bool:
    try:
        digests = json.loads((place / FILES).read_text())
        found = {path.name: path.stat() for path in place.iterdir() if path.name != FILES}
        return found.keys() == digests.keys() and all(
            _digest(place / name, each.st_size, each.st_mtime_ns, each.st_ino) == digests[name]
            for name, each in found.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, modified: int, inode: int) -> str:
    """Return the SHA-256 of a file; it is computed once in a process, until the file changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(draft: Path) -> None:
    """Write the list of the files of a finished draft, and flush all of them to disk."""
    digests = {}
    for path in sorted(draft.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    (draft / FILES).write_text(json.dumps(digests))
    for path in draft.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _publish(draft: Path, place: Path) -> None:
    """Move a draft to its place, unless another process has finished the same entry first.

    Nobody removes or moves an entry without the lock, so what is found damaged cannot be a fresh one.
    """
    with _locked(folder() / LOCK):
        if not _is_complete(place):
            shutil.rmtree(place, ignore_errors=True)
            draft.rename(place)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, or none on a file system without locks, as some network disks are."""
    lock = FileLock(path)
    try:
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if not is_without_locks(error):
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _sweep(parent: Path) -> None:
    """Delete the drafts that killed processes left behind more than `ABANDONED` seconds ago."""
    limit = time.time() - ABANDONED
    for draft in parent.glob(".*"):
        try:
            abandoned = draft.stat().st_mtime < limit
        except FileNotFoundError:  # the process that writes it has finished meanwhile
            continue
        if abandoned:
            shutil.rmtree(draft, ignore_errors=True)
