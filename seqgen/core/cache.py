"""The cache folder: entries that appear whole or not at all, and files mapped into memory."""

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
"""Age in seconds after which an unfinished entry is taken for the remains of a killed process."""

FILES = "files.json"
"""The name of the list, in each entry, of its files and their sizes in bytes."""


def folder() -> Path:
    """Return the cache folder: `$SEQGEN_CACHE`, else `$XDG_CACHE_HOME/seqgen`, else `~/.cache/seqgen`."""
    given = os.environ.get("SEQGEN_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqgen"


@contextmanager
def writing() -> Iterator[None]:
    """Turn an `OSError` of writing under the cache folder (disk full, no permission) into a `UserError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write the cache folder {folder()}: {reason}; "
            "make room there, or set SEQGEN_CACHE to a folder that has it"
        ) from error


def entry(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """Return the folder of the entry `kind`/`key`, written by `fill(folder)` where it does not exist yet.

    `fill` writes into a temporary folder, which is renamed when all of it is on the disk: whoever finds the
    entry finds all of it, whether the process that wrote it was killed or several wrote it at once (the
    first wins, the others use its entry). An entry whose files have lost their sizes is written again.
    Raise `UserError` where the cache folder cannot be written; an exception of `fill` leaves nothing behind.
    """
    place = folder() / kind / key
    if _whole(place):
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
    """Map a whole file into memory, to read; an empty one, which cannot be mapped, as empty bytes."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_array(path: Path, dtype: type | np.dtype) -> np.ndarray:
    """Map a file of raw numbers into memory, to read."""
    mapped = map_file(path)
    return np.frombuffer(mapped, dtype) if mapped else np.empty(0, dtype)


def release(mapped: mmap.mmap | bytes) -> None:
    """Give the resident pages of a mapped file back, so that a pass over it does not count as memory."""
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _whole(place: Path) -> bool:
    try:
        sizes = json.loads((place / FILES).read_text())
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _seal(draft: Path) -> None:
    """List the files of a finished draft with their sizes, and force all of it to the disk."""
    sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
    (draft / FILES).write_text(json.dumps(sizes))
    for path in draft.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _publish(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError:
        # Another process finished the same entry first; its files are the same as ours.
        if not _whole(place):
            raise


def _sweep(parent: Path) -> None:
    """Remove the drafts that processes killed long ago have left."""
    limit = time.time() - ABANDONED
    for draft in parent.glob(".*"):
        try:
            abandoned = draft.stat().st_mtime < limit
        except FileNotFoundError:  # its owner has finished it meanwhile
            continue
        if abandoned:
            shutil.rmtree(draft, ignore_errors=True)
