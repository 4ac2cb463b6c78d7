"""The files of a corpus: finding, hashing, and reading them as text or tables, gzipped or not."""

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from seqgen.core import cache, distributed
from seqgen.core.errors import UserError
from seqgen.data.conditions import FOLDER, joined
from seqgen.data.decoding import BLOCK_BYTES, items
from seqgen.data.reading import Chunks, Reading, Taken, check_expansion
from seqgen.data.tables import TABLES

PLAIN = ("", ".txt", ".text")
"""Suffixes of the text files that are read from a folder; a file that the user names may have any."""

GZIP = b"\x1f\x8b"

OTHER = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc": "7z",
}
"""First bytes of archives that are not read, and their names."""


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
        return _format(self.path) if self.path else self.piped

    piped: str = ""
    """The format of a pipe, by its first bytes."""
    label: str = ""
    """The folder that the file is in within a folder that was given; empty where it is in none."""


def find(spec: str, name: str | None = None) -> list[TextFile]:
    """Return the files that `spec` stands for, hashed: a file, a folder or `-` (standard input).

    A folder stands for all text files and tables in it and its subfolders, in the order of their names;
    hidden files and other suffixes are left out. A pipe may be text, JSON lines or Parquet. `name` stands for
    `spec` in messages. Raise UserError if nothing can be read.
    """
    if spec == "-":
        if distributed.count() > 1:
            raise UserError(f"{name or 'standard input'} can be read by one process alone; give a file")
        return [_spool(name or "standard input", sys.stdin.buffer)]
    path = Path(spec)
    with reading(name or spec):
        if path.is_dir():
            found = _inside(path, name or f"directory {spec!r}")
            return [replace(_hashed(file), label=_folder_of(file, path)) for file in found]
        if path.is_file():
            return [_hashed(path, name)]
        if path.is_char_device() or path.is_block_device():
            raise UserError(
                f"{name or spec} is a device, which may never end; give a file, a folder or a pipe"
            )
        with path.open("rb") as pipe:
            return [_spool(name or spec, pipe)]


def key(files: list[TextFile], how: Reading) -> str:
    """Return the cache key of files: it is the same for the same bytes read in the same way."""
    parts: list[tuple] = [astuple(how), *((file.format, file.digest) for file in files)]
    if how.label == FOLDER:
        parts += [(file.label, "") for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def has_columns(file: TextFile) -> bool:
    """Return True if the file is a table, of which one column holds the sentences."""
    return file.format in TABLES


def fitting(how: Reading, files: list[TextFile]) -> Reading:
    """Return the options without those that fit none of these files: they are meant for others."""
    tables = [has_columns(file) for file in files]
    return replace(
        how,
        column=how.column if any(tables) else None,
        encoding=how.encoding if any(file.format != ".parquet" for file in files) else None,
        separator=None if all(tables) else how.separator,
    )


def read(source: TextFile, how: Reading, taken: Taken) -> Chunks:
    """Yield the sentences of a file in lists, not yet normalised (`seqgen.data.corpus` does that).

    `taken` learns what was taken and left out. Raise UserError for a missing or ambiguous column, bytes that
    the encoding does not have, binary content and unreadable files.
    """
    by_folder = how.label == FOLDER and not has_columns(source)
    if not has_columns(source) and (named := how.column or (None if by_folder else how.given)):
        raise UserError(f"{source.name} is plain text and has no column {named!r}; leave the column out")
    if by_folder and not source.label:
        raise UserError(
            f"{source.name} is in no folder that could be its label; give a folder with one for each label"
        )
    if how.separator is not None and has_columns(source):
        raise UserError(f"{source.name} is a table, whose rows need no separator; leave the separator out")
    if how.encoding is not None and source.format == ".parquet":
        raise UserError(f"{source.name} is a Parquet file, whose text is UTF-8; leave the encoding out")
    with reading(source.name), _open(source) as file:
        chunks = TABLES.get(source.format, items)(file, source.name, how, taken)
        if by_folder:
            taken.say("labels: the names of the folders")
            chunks = ([each and joined(source.label, each) for each in chunk] for chunk in chunks)
        yield from chunks


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


def _inside(folder: Path, name: str) -> list[Path]:
    suffixes = {*PLAIN, *TABLES}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _format(path) in suffixes
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        allowed = ", ".join(sorted(suffixes - {""}))
        raise UserError(f"{name} holds no file to read; looked for {allowed}, also as .gz")
    return files


def _folder_of(file: Path, root: Path) -> str:
    first, *rest = file.relative_to(root).parts
    return " ".join(first.split()) if rest else ""


def _hashed(path: Path, name: str | None = None) -> TextFile:
    with reading(name or str(path)), path.open("rb") as file:
        return TextFile(name or str(path), path, hashlib.file_digest(file, "sha256").hexdigest())


def _spool(name: str, pipe: IO[bytes]) -> TextFile:
    """Copy a stream that can be read only once to an unnamed temporary file in the cache folder."""
    with cache.writing():
        cache.folder().mkdir(parents=True, exist_ok=True)
        spool = tempfile.TemporaryFile(dir=cache.folder())  # noqa: SIM115
        shutil.copyfileobj(pipe, spool, BLOCK_BYTES)
    spool.seek(0)
    digest = hashlib.file_digest(spool, "sha256").hexdigest()
    source = TextFile(name, None, digest, spool)
    spool.seek(0)
    return replace(source, piped=format_of(spool.read(BLOCK_BYTES)))


def format_of(start: bytes) -> str:
    """Return the suffix of a table, or "", by the first bytes of a stream without a name, gzipped or not."""
    if start.startswith(GZIP):
        try:
            start = zlib.decompressobj(wbits=31).decompress(start, BLOCK_BYTES)
        except zlib.error:  # which reading it will report
            return ""
    if start.startswith(b"PAR1"):
        return ".parquet"
    if start.lstrip().startswith(b"{"):
        try:
            return ".jsonl" if isinstance(json.loads(start.lstrip().partition(b"\n")[0]), dict) else ""
        except (ValueError, RecursionError):
            return ""
    return ""


@contextmanager
def _open(source: TextFile) -> Iterator[IO[bytes]]:
    """Open a file at its start, and what a gzipped one holds."""
    with contextlib.ExitStack() as stack:
        if source.spool is not None:
            file = source.spool
        else:
            assert source.path is not None
            file = stack.enter_context(source.path.open("rb"))
        file.seek(0)
        start = file.read(8)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        for mark, kind in OTHER.items():
            if start.startswith(mark):
                raise UserError(f"{source.name} is a {kind} archive; unpack it and give the text")
        is_zipped = source.path is not None and source.path.suffix.lower() == ".gz"
        if (is_zipped or start.startswith(GZIP)) and source.format != ".parquet":
            unzipped = stack.enter_context(gzip.GzipFile(fileobj=file))
            yield cast(IO[bytes], _Unzipped(unzipped, source.name, size))
        else:
            yield file


@dataclass
class _Unzipped:
    """What a gzipped file holds, as long as that is no more than text can expand to."""

    file: gzip.GzipFile
    name: str
    size: int

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        check_expansion(self.name, self.file.tell(), self.size)
        return block
