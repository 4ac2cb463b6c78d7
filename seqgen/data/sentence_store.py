"""Sentences on disk: a memory-mapped file of UTF-8, the offset and a 64-bit hash of each sentence.

What a sentence is given, its label or source, is stored before it (`seqgen.data.conditions`).
"""

import hashlib
import mmap
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from seqgen.core import cache
from seqgen.data.conditions import parted

CHUNK_LINES = 10_000
CHUNK_BYTES = 1 << 22
"""Bounds of a chunk: the number of sentences, and roughly the number of bytes (a longer sentence is one)."""


class Lines(Sequence[str]):
    """A read-only sequence of sentences in a blob of UTF-8; `hash` is the SHA-256 of the sentences.

    `rows` are the indices of its sentences in the blob, in order (None: all), so the splits of a corpus share
    one blob. Of sentences that are given something, `conditioned`, the sequence is of the sentences alone.
    """

    def __init__(
        self,
        blob: mmap.mmap | bytes,
        offsets: np.ndarray,
        rows: np.ndarray | None,
        hash: str,
        *,
        conditioned: bool = False,
    ):
        self._blob = blob
        self._offsets = offsets
        self._rows = rows
        self.hash = hash
        self.conditioned = conditioned

    @property
    def whole(self) -> "Lines":
        """The same lines, with what the sentences are given before them, if anything."""
        return Lines(self._blob, self._offsets, self._rows, self.hash)

    def where(self, keep: np.ndarray) -> "Lines":
        """Return some of the sentences, in their order; bool (N,)."""
        chosen = np.flatnonzero(keep)
        rows = chosen if self._rows is None else self._rows[chosen]
        hash = hashlib.sha256(self.hash.encode() + rows.tobytes()).hexdigest()
        return Lines(self._blob, self._offsets, rows, hash, conditioned=self.conditioned)

    def conditions(self) -> list[str]:
        """Return what each sentence is given, in order."""
        return [parted(line)[0] for line in self.whole]

    @staticmethod
    def from_strings(sentences: Iterable[str]) -> "Lines":
        """Hold sentences in memory instead of on disk."""
        return store_of(sentences).lines

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._read(*self._bounds(np.arange(*index.indices(len(self)))))
        at = range(len(self))[operator.index(index)]  # IndexError and negative indices as for any sequence
        return self._read(*self._bounds(np.array([at])))[0]

    def __iter__(self) -> Iterator[str]:
        for chunk in self.chunks():
            yield from chunk

    def chunks(self, size: int = CHUNK_LINES) -> Iterator[list[str]]:
        """Yield all sentences in order, in lists of at most `size`, fewer if they are long.

        Pages are released once read, so a pass over a corpus of any size takes the memory of one chunk.
        """
        for first in range(0, len(self), size):
            starts, ends = self._bounds(np.arange(first, min(first + size, len(self))))
            cuts = np.flatnonzero(np.diff(np.cumsum(ends - starts) // CHUNK_BYTES)) + 1
            for begin, end in zip(np.split(starts, cuts), np.split(ends, cuts), strict=True):
                yield self._read(begin, end)
            cache.release(self._blob)

    def _bounds(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = at if self._rows is None else self._rows[at]
        return self._offsets[rows], self._offsets[rows + 1]

    def _read(self, starts: np.ndarray, ends: np.ndarray) -> list[str]:
        blob = self._blob
        lines = [blob[a:b].decode() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        return [parted(line)[1] for line in lines] if self.conditioned else lines


@dataclass(frozen=True)
class Store:
    """All sentences of a source, with their hashes for finding duplicates."""

    lines: Lines
    hashes: np.ndarray
    """64-bit hash of each sentence, uint64 (N,). Equal sentences have equal hashes; among 10 million distinct
    sentences two have the same hash with probability 3e-6."""

    def select(self, rows: np.ndarray, hash: str) -> Lines:
        """Return the sentences at the indices `rows`, in the same blob."""
        lines = self.lines
        return Lines(lines._blob, lines._offsets, rows, hash, conditioned=lines.conditioned)


def store_of(sentences: Iterable[str]) -> Store:
    """Build a store of sentences in memory."""
    encoded = [encode(sentence) for sentence in sentences]
    lines = Lines(b"".join(encoded), offsets_of(encoded), None, content_hash(encoded))
    return Store(lines, hashes_of(encoded))


def write_store(
    folder: Path, chunks: Iterable[Sequence[str]], identity: Callable[[str], str] | None = None
) -> int:
    """Write sentences to `folder`, with one chunk in memory at a time; return their number.

    identity: what of a line must not be in two splits, by which it is hashed; all of it if not given.
    """
    digest, count, position = hashlib.sha256(), 0, 0
    with (
        (folder / "blob").open("wb") as blob,
        (folder / "offsets").open("wb") as offsets,
        (folder / "hashes").open("wb") as hashes,
    ):
        offsets.write(np.zeros(1, np.int64).tobytes())
        for chunk in chunks:
            encoded = [encode(sentence) for sentence in chunk]
            ends = offsets_of(encoded)
            blob.write(b"".join(encoded))
            offsets.write((ends[1:] + position).tobytes())
            whose = encoded if identity is None else [encode(identity(line)) for line in chunk]
            hashes.write(hashes_of(whose).tobytes())
            _update(digest, encoded)
            count += len(encoded)
            position += int(ends[-1])
    (folder / "hash").write_text(digest.hexdigest())
    return count


def open_store(folder: Path, *, conditioned: bool = False) -> Store:
    """Open a store written by `write_store`, memory-mapped; say whether its sentences are given something."""
    offsets = cache.map_array(folder / "offsets", np.int64)
    hashes = cache.map_array(folder / "hashes", np.uint64)
    hash = (folder / "hash").read_text()
    lines = Lines(cache.map_file(folder / "blob"), offsets, None, hash, conditioned=conditioned)
    return Store(lines, hashes)


def encode(sentence: str) -> bytes:
    """Encode as UTF-8; a lone surrogate, which JSON can represent and UTF-8 cannot, becomes `?`."""
    return sentence.encode("utf-8", "replace")


def offsets_of(encoded: Sequence[bytes]) -> np.ndarray:
    """Return the start of each sentence in their concatenation, and the end of the last; int64 (N + 1,)."""
    return np.cumsum(np.fromiter(map(len, [b"", *encoded]), np.int64, len(encoded) + 1))


def hashes_of(encoded: Sequence[bytes]) -> np.ndarray:
    """Return the 64-bit BLAKE2b of each sentence; uint64 (N,)."""
    digests = b"".join([hashlib.blake2b(sentence, digest_size=8).digest() for sentence in encoded])
    return np.frombuffer(digests, np.uint64)


def content_hash(encoded: Sequence[bytes]) -> str:
    """Return the SHA-256 of sentences, each ended by a newline, in hex.

    A newline within a sentence counts as 0xFF, a byte that UTF-8 does not have.
    """
    digest = hashlib.sha256()
    _update(digest, encoded)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", encoded: Sequence[bytes]) -> None:
    if encoded:
        digest.update(b"\n".join([each.replace(b"\n", b"\xff") for each in encoded]) + b"\n")
