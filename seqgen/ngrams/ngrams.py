"""N-gram counts: tokens become integer ids, and sorting the ids counts every n-gram of every sentence.

BLEU, self-BLEU, distinct-n and the distances between two texts are all computed from `count_ngrams`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROWS = 16_384
"""Sentences encoded at a time."""


@dataclass(frozen=True)
class EncodedText:
    """N sentences as one array of token ids, (P,), and their lengths, (N,); a blank sentence has length 0."""

    ids: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, part: slice) -> "EncodedText":
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a slice of sentences must be contiguous, not in steps of {step}")
        return EncodedText(self.ids[ends[start] : ends[max(start, stop)]], self.lengths[start:stop])

    def take(self, rows: Ints) -> "EncodedText":
        """Select sentences by index, in the order given; (K,)."""
        ends = np.cumsum(self.lengths)
        lengths = self.lengths[rows]
        starts = np.repeat(ends[rows] - np.cumsum(lengths), lengths)
        return EncodedText(self.ids[starts + np.arange(len(starts))], lengths)


def encode_sentences(sentences: Iterable[Sequence[str]], vocabulary: dict[str, int]) -> EncodedText:
    """Map tokens to ids by `vocabulary`, which is extended in place by unseen tokens.

    Only texts encoded with the same vocabulary can be compared.
    """
    ids, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    stream = iter(sentences)
    while rows := list(islice(stream, ROWS)):  # only so many sentences are held as lists of strings at a time
        for token in dict.fromkeys(chain.from_iterable(rows)):
            vocabulary.setdefault(token, len(vocabulary))
        lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        tokens = chain.from_iterable(rows)
        ids.append(np.fromiter(map(vocabulary.__getitem__, tokens), np.int64, int(lengths[-1].sum())))
    return EncodedText(np.concatenate(ids), np.concatenate(lengths))


def join(texts: Sequence[EncodedText]) -> EncodedText:
    """Concatenate texts that were encoded with the same vocabulary."""
    return EncodedText(np.concatenate([t.ids for t in texts]), np.concatenate([t.lengths for t in texts]))


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of one order as K entries: `gram[k]` occurs `count[k]` times in sentence `sentence[k]`.

    Entries are sorted by n-gram, then by sentence. N-grams are numbered 0 … G - 1; `first` (G,) is the index
    of the first entry of each.
    """

    n: int
    gram: Ints
    sentence: Ints
    count: Ints
    first: Ints

    def sentences(self) -> Ints:
        """Count the sentences that contain each n-gram; (G,)."""
        return np.diff(self.first, append=len(self.gram))

    def total(self) -> Ints:
        """Count all occurrences of each n-gram; (G,)."""
        return np.add.reduceat(self.count, self.first) if len(self.first) else self.first


def sum_by_key(keys: Ints, weights: Ints | Floats, size: int) -> Floats:
    """Sum the weights of each key 0 … size - 1; (K,), (K,) → (size,)."""
    return np.bincount(keys, weights=weights, minlength=size).astype(np.float64, copy=False)


Keep = Callable[[NgramCounts], Bools]


def stable_order(keys: Ints, bound: int) -> Ints:
    """Return the indices that sort `keys` (each in 0 … bound - 1), equal keys in their given order.

    Key and index are packed into one 64-bit integer where they fit, because sorting values is several times
    faster than sorting indices.
    """
    shift = max(1, len(keys) - 1).bit_length()
    if int(bound - 1).bit_length() + shift > 63:
        return np.argsort(keys, kind="stable")
    packed = (keys << shift) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << shift) - 1)


def count_ngrams(text: EncodedText, max_n: int, keep: Keep | None = None) -> Iterator[NgramCounts]:
    """Count the n-grams of orders 1 … max_n by sentence, one order after the other.

    `keep` returns a mask (G,) of the n-grams worth extending: the longer n-grams that begin or end with any
    other n-gram are left out of all higher orders (if only one sentence contains an n-gram, only that
    sentence contains its extensions). Memory is a few integers per token, whatever max_n.
    """
    sentence = np.repeat(np.arange(len(text)), text.lengths)
    ends = np.repeat(np.cumsum(text.lengths), text.lengths)
    vocab = int(text.ids.max(initial=0)) + 1
    positions = np.arange(len(text.ids))
    keys, bound = text.ids, vocab
    for n in range(1, max_n + 1):
        order = stable_order(keys, bound)
        where = positions[order]
        grams, ids = _entries(n, keys[order], sentence[where])
        yield grams
        if n == max_n:
            return
        renamed = _rename(np.ones(len(grams.first), bool) if keep is None else keep(grams))
        at = np.full(len(text.ids) + 1, -1)  # the n-gram that begins at each position, -1: none, or not kept
        at[where] = renamed[ids]
        positions = positions[
            (at[positions] >= 0) & (at[positions + 1] >= 0) & (positions + n < ends[positions])
        ]
        keys = at[positions] * vocab + text.ids[positions + n]
        bound = (int(renamed.max(initial=0)) + 1) * vocab


def _entries(n: int, keys: Ints, sentence: Ints) -> tuple[NgramCounts, Ints]:
    """Turn sorted keys and sentences into entries, and number the n-gram of every key from 0."""
    new_gram = np.ones(len(keys), bool)
    new_gram[1:] = keys[1:] != keys[:-1]
    new_entry = new_gram.copy()
    new_entry[1:] |= sentence[1:] != sentence[:-1]
    ids = np.cumsum(new_gram) - 1
    starts = np.flatnonzero(new_entry)
    count = np.diff(starts, append=len(keys))
    first = np.flatnonzero(new_gram[starts])
    return NgramCounts(n, ids[starts], sentence[starts], count, first), ids


def _rename(kept: Bools) -> Ints:
    """Number the kept n-grams from 0; -1 marks the others."""
    return np.where(kept, np.cumsum(kept) - 1, -1)
