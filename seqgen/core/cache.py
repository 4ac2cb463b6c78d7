"""The cache folder: atomic entries, each a folder of files, and memory-mapped files."""

import json
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seqgen.core.errors import UserError

ABANDONED = 24 * 3600
"""Age in seconds after which an unfinished entry is deleted, as left behind by a killed process."""

FILES = "files.json"
"""The file of each entry that lists the other files with their sizes in bytes."""


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
    first to finish provides it for all. An entry with a file that is missing or of the wrong size is written
    again. Raise UserError if the cache folder cannot be written; if `fill` raises, nothing is left behind.
    """
    place = folder() / kind / key
    if _is_complete(place):
        return place
    with writing():
        shutil.rmtree(place, ignore_errors=True)
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
        sizes = json.loads((place / FILES).read_text())
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _seal(draft: Path) -> None:
    """Write the list of the files of a finished draft, and flush all of them to disk."""
    sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
    (draft / FILES).write_text(json.dumps(sizes))
    for path in draft.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _publish(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError:
        # Another process has finished the same entry first, with the same files.
        if not _is_complete(place):
            raise


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
