"""A file that takes long to write: what is whole of it is kept, and the same command goes on from there.

`samples.txt` is written as `samples.txt.part`. `samples.txt.part.json` beside it has the settings by which
it is written, and its *mark*: how many of its bytes are whole, their SHA-256, and the position of the writer
after them. At the end the part takes the name of the file, in one step, and nothing else is left. The bytes
of a mark are on the disk before the mark is, so that neither `kill -9` nor a power failure makes it wrong;
what was written after them is written again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from seqgen.core.atomic_files import naming_file, write_text
from seqgen.core.errors import UserError
from seqgen.core.file_locks import is_without_locks
from seqgen.core.temporary_files import put_in_place

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX, MARK_SUFFIX = ".part", ".part.json"
LONGEST_NAME = 255
"""Bytes of a file's name, at most, on most disks."""
SAVE_SECONDS = 1.0
"""Least time between two marks on the disk: what `kill -9` can cost."""
BLOCK = 1 << 20
"""Bytes read at a time."""
SHOWN = 20
"""Characters that a message shows of a setting."""

Position = dict[str, Any]
"""Where the writer stands, as JSON."""


class PartialFile:
    """The part of a file to be, open for writing behind what is whole; see `partial_file`."""

    def __init__(
        self, file: IO[bytes], mark_path: Path, settings: Mapping[str, Any], clock: Callable[[], float]
    ) -> None:
        self._file, self._mark_path, self._settings, self._clock = file, mark_path, settings, clock
        self._size, self._digest = 0, hashlib.sha256()
        self._mark: tuple[int, str, Position | None] = (0, self._digest.hexdigest(), None)
        self._saved_at = clock()

    @property
    def position(self) -> Position | None:
        """Where the writer stood at the last mark; None where it is to begin."""
        return self._mark[2]

    def read(self) -> bytes:
        """Return everything that is whole."""
        self._file.seek(0)
        whole = self._file.read(self._size)
        self._file.seek(self._size)
        return whole

    def write(self, content: bytes) -> None:
        """Append to the part."""
        self._file.write(content)
        self._size += len(content)
        self._digest.update(content)

    def mark(self, position: Position) -> None:
        """Note that all that was written is whole, and the position after it; now and then on the disk."""
        self._mark = self._size, self._digest.hexdigest(), position
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Put what was marked last on the disk."""
        self._to_disk()
        size, digest, position = self._mark
        mark = {"settings": self._settings, "bytes": size, "sha256": digest, "position": position}
        write_text(self._mark_path, json.dumps(mark) + "\n")
        self._saved_at = self._clock()

    def restore(self, mark: Mapping[str, Any]) -> None:
        """Go on behind a mark; UserError where what it says is whole is not there any more."""
        left, digest = int(mark["bytes"]), hashlib.sha256()
        self._file.seek(0)
        while block := self._file.read(min(left, BLOCK)):
            digest.update(block)
            left -= len(block)
        if left or digest.hexdigest() != mark["sha256"]:
            name = self._mark_path.with_suffix("")
            raise UserError(f"'{name}' has changed since it was written; delete it to begin anew")
        self._size, self._digest = int(mark["bytes"]), digest
        self._file.truncate(self._size)
        self._file.seek(self._size)
        self._mark = self._size, digest.hexdigest(), mark["position"]

    @property
    def holds_something(self) -> bool:
        """Whether anything was marked as whole."""
        return self._mark[0] > 0

    def _to_disk(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, part: Path, target: Path) -> None:
        """Give the part, all of which is whole, the name of the file."""
        self._to_disk()
        put_in_place(part, self._file, target)
        self._mark_path.unlink(missing_ok=True)


@contextmanager
def partial_file(
    path: Path, settings: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[PartialFile]:
    """Open the part of a file, new or as an interrupted command of the same settings left it.

    At the end of the `with` block it becomes `path`, through links as with `write_atomic`; where the block
    raises, what was marked is kept. settings: JSON, all that the content depends on. Raise UserError where a
    part was written by other settings or has changed since, where a file of the part's name is none, where
    another process writes it, and where the disk is full; OSError of `path` for other failures.
    """
    target = Path(os.path.realpath(path))
    part, mark_path = _names(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming_file(path, ", the whole part of which is kept;"), _locked(part, path) as file:
        writer = PartialFile(file, mark_path, settings, clock)
        writer.restore(_mark_to_go_on_from(part, mark_path, settings))
        try:
            yield writer
            writer.finish(part, target)
        except BaseException as error:
            if part.exists() and writer.holds_something:
                if not isinstance(error, OSError):  # else nobody knows what the disk has since its last mark
                    writer.save()
                raise
            if fcntl is None:  # Windows removes no file that is open
                file.close()
            part.unlink(missing_ok=True)
            mark_path.unlink(missing_ok=True)
            raise


def _names(target: Path) -> tuple[Path, Path]:
    """Return the names of a file's part and of its mark; shorter where they would be too long for a name."""
    name = target.name
    if len(os.fsencode(name + MARK_SUFFIX)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(name + SUFFIX), target.with_name(name + MARK_SUFFIX)


def _read_mark(path: Path) -> dict[str, Any] | None:
    """Return the mark in a file; None where there is none, or it is no mark."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    keys = {"settings": dict, "bytes": int, "sha256": str, "position": dict | None}
    is_mark = isinstance(found, dict) and found.keys() == keys.keys()
    return found if is_mark and all(isinstance(found[key], kind) for key, kind in keys.items()) else None


def _mark_to_go_on_from(part: Path, mark_path: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mark of a part, of nothing if it is new; UserError where it is not one of these settings."""
    mark, size = _read_mark(mark_path), part.stat().st_size
    if mark is None and size:
        raise UserError(f"'{part}' is in the way, and no part to go on from; delete or move it")
    asked = json.loads(json.dumps(dict(settings)))
    if mark is None or not mark["bytes"] or not size:  # the last: of a part that was deleted, or renamed
        nothing = {"settings": asked, "bytes": 0, "sha256": hashlib.sha256().hexdigest(), "position": None}
        write_text(mark_path, json.dumps(nothing) + "\n")  # before any content, which is known by it
        return nothing
    before = mark["settings"]
    for key in sorted({*asked, *before}):
        if before.get(key) != asked.get(key):
            raise UserError(
                f"'{part}' was begun with {key} {_short(before.get(key))}, not {_short(asked.get(key))}; run "
                "that command again, or delete it to begin anew"
            )
    return mark


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@contextmanager
def _locked(part: Path, path: Path) -> Iterator[IO[bytes]]:
    """Open a part, which may be new, for reading and writing, and keep other processes from it."""
    file = _opened(part)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process writes '{path}'; wait for it, or name another") from error
            except OSError as error:
                if not is_without_locks(error):
                    raise
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise UserError(f"another process has just written '{path}'; run the same command again")
        yield file
    finally:
        file.close()


def _opened(part: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o666), "r+b")
