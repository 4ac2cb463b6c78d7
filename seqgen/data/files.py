"""The files that a corpus is read from: found, hashed, and opened as text or tables, gzipped or not."""

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
"""Endings of text files that a directory is searched for; a file named by itself may end in anything."""


@dataclass(frozen=True)
class Source:
    """One file: its name for messages, its bytes, and their SHA-256."""

    name: str
    path: Path | None
    """None for a pipe, whose bytes are in `spool`."""
    digest: str
    spool: IO[bytes] | None = field(default=None, repr=False)

    @property
    def format(self) -> str:
        """The ending that says how to read it, without .gz: '.csv', '.jsonl', '.txt', …"""
        return _format(Path(self.name)) if self.path else ""


def find(spec: str) -> list[Source]:
    """Return the files that a path, a directory or `-` (standard input) stands for, hashed.

    A directory gives all its text and table files, also those of folders inside, in the order of their
    names; hidden files and other endings are left out. Raise `UserError` where nothing can be read.
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


def key(sources: list[Source], column: str | None) -> str:
    """Return a cache key: the same bytes read in the same way have the same one."""
    parts = [column, *((source.format, source.digest) for source in sources)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def has_columns(source: Source) -> bool:
    """Whether the file is a table, of which one column holds the sentences."""
    return source.format in TABLES


def read(source: Source, column: str | None) -> Chunks:
    """Yield the sentences of a file as they are, in lists; `seqgen.data.corpus` says how they are normalised.

    Raise `UserError` for a missing or ambiguous column, invalid UTF-8, binary content and unreadable files.
    """
    if column is not None and not has_columns(source):
        raise UserError(f"{source.name} is plain text and has no column {column!r}; leave the column out")
    with reading(source.name), _open(source) as file:
        yield from TABLES.get(source.format, _read_text)(file, source.name, column)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the ways in which a file can fail to be read into a `UserError`."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{name} is no whole gzip file ({error}); unpack it or fetch it again") from error
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
    endings = {*PLAIN, *TABLES}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _format(path) in endings
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        allowed = ", ".join(sorted(endings - {""}))
        raise UserError(f"directory {str(folder)!r} holds no file to read; looked for {allowed}, also as .gz")
    return files


def _hashed(path: Path) -> Source:
    with reading(str(path)), path.open("rb") as file:
        return Source(str(path), path, hashlib.file_digest(file, "sha256").hexdigest())


def _spool(name: str, pipe: IO[bytes]) -> Source:
    """Copy what can be read only once into an unnamed file of the cache folder, which vanishes with us."""
    with cache.writing():
        cache.folder().mkdir(parents=True, exist_ok=True)
        spool = tempfile.TemporaryFile(dir=cache.folder())  # noqa: SIM115
        shutil.copyfileobj(pipe, spool, BLOCK_BYTES)
    spool.seek(0)
    return Source(name, None, hashlib.file_digest(spool, "sha256").hexdigest(), spool)


@contextmanager
def _open(source: Source) -> Iterator[IO[bytes]]:
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
