"""Sentences as token ids on disk: memory-mapped, cached by corpus, tokenizer and maximum length."""

import hashlib
import json
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.data.conditions import parted
from seqgen.data.sentence_store import Lines
from seqgen.data.tokenizer import EOS, PAD, UNK, Tokenizer

FORMAT = 1
"""Part of every cache key; increase it when something else is stored."""


@dataclass(frozen=True)
class Ids:
    """Token ids of N sentences of different lengths in one array; each ends with EOS unless truncated."""

    tokens: np.ndarray
    """uint16 if the vocabulary fits, else int32."""
    offsets: np.ndarray
    """Start of each sentence, and the end of the last; int64 (N + 1,)."""
    truncated: int
    """Number of sentences truncated at the maximum length, which have no EOS."""
    unknown: int
    """Number of tokens that are UNK."""
    mapped: mmap.mmap | bytes = b""
    """The mapped file of `tokens`, if there is one."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the token ids of a sentence; (T,)."""
        at = range(len(self))[index]
        return self.tokens[self.offsets[at] : self.offsets[at + 1]]

    def lengths(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the number of tokens of sentences, EOS included; int64 (B,)."""
        return self.offsets[1:][rows] - self.offsets[:-1][rows]

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return sentences as a tensor, padded to the length of the longest; indices (B,) → int64 (B, T)."""
        lengths = self.lengths(rows)
        columns = np.arange(lengths.max(initial=1))
        real = columns < lengths[:, None]  # (B, T)
        padded = np.full(real.shape, PAD, np.int64)
        padded[real] = self.tokens[(self.offsets[rows][:, None] + columns)[real]]
        return torch.from_numpy(padded)

    def subset(self, rows: np.ndarray) -> "Ids":
        """Return some of the sentences, held in memory; indices (B,)."""
        lengths = self.lengths(rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        tokens = self.tokens[np.repeat(self.offsets[rows], lengths) + within]
        truncated = int((self.tokens[self.offsets[rows] + lengths - 1] != EOS).sum()) if len(rows) else 0
        return Ids(tokens, offsets, truncated, int((tokens == UNK).sum()))


def pack(sentences: Iterable[Sequence[int]], *, truncated: int = 0) -> Ids:
    """Hold sentences of token ids in memory, unchanged: EOS is not added."""
    rows = list(sentences)
    tokens = np.fromiter(chain.from_iterable(rows), np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return Ids(tokens, offsets, truncated, int((tokens == UNK).sum()))


def encode_lines(lines: Lines, tokenizer: Tokenizer, *, max_length: int | None = None) -> Ids:
    """Encode sentences and store their token ids in the cache folder, or open them from there.

    `max_length` counts tokens, EOS included. A longer sentence is truncated and has no EOS, so no model
    learns to end there. What sentences are given stands before them, a source with at most `max_length`
    tokens. The cache key depends on the sentences, the tokenizer and `max_length` only. Raise UserError for a
    `max_length` below 1.
    """
    if max_length is not None and max_length < 1:
        raise UserError(f"a maximum length of {max_length} leaves no token; give 1 or more")
    key = hashlib.sha256(json.dumps([FORMAT, lines.hash, tokenizer.to_json(), max_length]).encode())
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
    place = cache.entry(
        "ids", key.hexdigest(), lambda draft: _write(draft, lines, tokenizer, max_length, kind)
    )
    counts = json.loads((place / "counts.json").read_text())
    mapped = cache.map_file(place / "tokens")
    tokens = np.frombuffer(mapped, kind) if mapped else np.empty(0, kind)
    return Ids(tokens, cache.map_array(place / "offsets", np.int64), **counts, mapped=mapped)


def _write(draft: Path, lines: Lines, tokenizer: Tokenizer, max_length: int | None, kind: np.dtype) -> None:
    position, truncated, unknown = 0, 0, 0
    with (draft / "tokens").open("wb") as tokens, (draft / "offsets").open("wb") as offsets:
        offsets.write(np.zeros(1, np.int64).tobytes())
        for chunk in lines.whole.chunks() if lines.conditioned else lines.chunks():
            given: list[list[int]] = []
            if lines.conditioned:
                conditions, chunk = map(list, zip(*map(parted, chunk), strict=True))  # noqa: PLW2901
                given = tokenizer.encode_conditions(conditions, max_length)
            flat = tokenizer.encode_flat(chunk)
            lengths = np.diff(np.flatnonzero(flat == EOS), prepend=-1)
            if max_length is not None and lengths.max(initial=0) > max_length:
                truncated += int((lengths > max_length).sum())
                within = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
                flat = flat[within < max_length]
                lengths = np.minimum(lengths, max_length)
            if given:
                flat, lengths = with_given(given, flat, lengths)
            ends = position + np.cumsum(lengths)
            position = int(ends[-1])
            unknown += int((flat == UNK).sum())
            tokens.write(flat.astype(kind).tobytes())
            offsets.write(ends.tobytes())
    (draft / "counts.json").write_text(json.dumps({"truncated": truncated, "unknown": unknown}))


def with_given(
    given: list[list[int]], flat: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put the tokens that each sentence is given before it; return all tokens and the new lengths."""
    more = np.fromiter(map(len, given), np.int64, len(given))
    starts = np.repeat(np.cumsum(lengths) - lengths, more)
    return np.insert(flat, starts, np.fromiter(chain.from_iterable(given), flat.dtype)), lengths + more
