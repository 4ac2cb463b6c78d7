"""The files of a corpus: finding, hashing, and reading them as text or tables, gzipped or not."""

import gzip
import hashlib
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.data.decoding import BLOCK_BYTES, blocks
from seqgen.data.tables import TABLES, Chunks

PLAIN = ("", ".txt", ".text")
"""Suffixes of the text files that are read from a folder; a file that the user names may have any."""


@dataclass(frozen=True)
class TextFile:
    """A file of text or a table: its name for messages, where its bytes are, and their SHA-256."""

    name: str
    path: Path | None
    """None for a pipe, whose bytes have been copied to `spool`."""
    digest: str
    spool: IO[bytes] | None = field(default=None, repr=False)

    @property
    def format(self) -> str:
        """The suffix that determines how the file is read, without .gz: '.csv', '.jsonl', '.txt', …"""
        return _format(Path(self.name)) if self.path else ""


def find(spec: str) -> list[TextFile]:
    """Return the files that `spec` stands for, hashed: a file, a folder or `-` (standard input).

    A folder stands for all text files and tables in it and its subfolders, in the order of their names;
    hidden files and other suffixes are left out. Raise UserError if nothing can be read.
    """
    if spec == "-":
        return [_spool("standard input", sys.stdin.buffer)]
    path = Path(spec)
    with reading(spec):
        if path.is_dir():
            return [_hashed(file) for file in _inside(path)]
        if path.is_file():
            return [_hashed(path)]
        with path.open("rb") as pipe:
            return [_spool(spec, pipe)]


def key(files: list[TextFile], column: str | None) -> str:
    """Return the cache key of files: it is the same for the same bytes read in the same way."""
    parts = [column, *((file.format, file.digest) for file in files)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def has_columns(file: TextFile) -> bool:
    """Return True if the file is a table, of which one column holds the sentences."""
    return file.format in TABLES


def read(source: TextFile, column: str | None) -> Chunks:
    """Yield the sentences of a file in lists, not yet normalised (`seqgen.data.corpus` does that).

    Raise UserError for a missing or ambiguous column, invalid UTF-8, binary content and unreadable files.
    """
    if column is not None and not has_columns(source):
        raise UserError(f"{source.name} is plain text and has no column {column!r}; leave the column out")
    with reading(source.name), _open(source) as file:
        yield from TABLES.get(source.format, _read_text)(file, source.name, column)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise UserError in place of the errors of a file that cannot be read."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{name} is damaged or no gzip file ({error}); unpack it or download it again"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"no file {name!r}; give the path of an existing file or directory") from error
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from error


def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _inside(folder: Path) -> list[Path]:
    suffixes = {*PLAIN, *TABLES}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _format(path) in suffixes
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        allowed = ", ".join(sorted(suffixes - {""}))
        raise UserError(f"directory {str(folder)!r} holds no file to read; looked for {allowed}, also as .gz")
    return files


def _hashed(path: Path) -> TextFile:
    with reading(str(path)), path.open("rb") as file:
        return TextFile(str(path), path, hashlib.file_digest(file, "sha256").hexdigest())


def _spool(name: str, pipe: IO[bytes]) -> TextFile:
    """Copy a stream that can be read only once to an unnamed temporary file in the cache folder."""
    with cache.writing():
        cache.folder().mkdir(parents=True, exist_ok=True)
        spool = tempfile.TemporaryFile(dir=cache.folder())  # noqa: SIM115
        shutil.copyfileobj(pipe, spool, BLOCK_BYTES)
    spool.seek(0)
    return TextFile(name, None, hashlib.file_digest(spool, "sha256").hexdigest(), spool)


@contextmanager
def _open(source: TextFile) -> Iterator[IO[bytes]]:
    if source.spool is not None:
        source.spool.seek(0)
        yield source.spool
    elif source.path is not None:
        zipped = source.path.suffix.lower() == ".gz"
        with source.path.open("rb") as file:
            if zipped:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield cast(IO[bytes], unzipped)
            else:
                yield file


def _read_text(file: IO[bytes], name: str, column: str | None) -> Chunks:
    for text in blocks(file, name):
        yield text.split("\n")
