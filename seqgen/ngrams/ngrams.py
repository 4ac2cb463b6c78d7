"""N-grams as integers: sentences coded once, then counted by order, gram and sentence with sorts alone.

Every metric over n-grams stands on `count_grams`: BLEU, self-BLEU, distinct-n, and what compares two texts.
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
"""Sentences that are turned into codes at a time."""


@dataclass(frozen=True)
class Coded:
    """N sentences as one row of token codes, (P,), and their lengths, (N,); blank sentences have length 0."""

    codes: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, part: slice) -> "Coded":
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"sentences are cut in runs, not in steps of {step}")
        return Coded(self.codes[ends[start] : ends[max(start, stop)]], self.lengths[start:stop])

    def take(self, rows: Ints) -> "Coded":
        """Pick sentences by number, in the order given; (K,)."""
        ends = np.cumsum(self.lengths)
        lengths = self.lengths[rows]
        starts = np.repeat(ends[rows] - np.cumsum(lengths), lengths)
        return Coded(self.codes[starts + np.arange(len(starts))], lengths)


def code_sentences(sentences: Iterable[Sequence[str]], vocabulary: dict[str, int]) -> Coded:
    """Code tokens by `vocabulary`, which grows by those it lacks: texts that share it can be compared."""
    codes, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    stream = iter(sentences)
    while rows := list(islice(stream, ROWS)):  # only so many sentences are held as lists of strings at a time
        for token in dict.fromkeys(chain.from_iterable(rows)):
            vocabulary.setdefault(token, len(vocabulary))
        lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        tokens = chain.from_iterable(rows)
        codes.append(np.fromiter(map(vocabulary.__getitem__, tokens), np.int64, int(lengths[-1].sum())))
    return Coded(np.concatenate(codes), np.concatenate(lengths))


def join(texts: Sequence[Coded]) -> Coded:
    """Put texts coded by one vocabulary behind each other."""
    return Coded(np.concatenate([t.codes for t in texts]), np.concatenate([t.lengths for t in texts]))


@dataclass(frozen=True)
class Grams:
    """The n-grams of one order, as K entries: `gram[k]` is `count[k]` times in sentence `sentence[k]`.

    Entries are sorted by gram, then sentence; the grams are 0 … G - 1, and `first` (G,) says where the
    entries of each begin.
    """

    n: int
    gram: Ints
    sentence: Ints
    count: Ints
    first: Ints

    def sentences(self) -> Ints:
        """Count the sentences that hold each gram; (G,)."""
        return np.diff(self.first, append=len(self.gram))

    def total(self) -> Ints:
        """Count the occurrences of each gram; (G,)."""
        return np.add.reduceat(self.count, self.first) if len(self.first) else self.first


def tally(keys: Ints, weights: Ints | Floats, size: int) -> Floats:
    """Sum the weights of every key 0 … size - 1; (K,), (K,) → (size,)."""
    return np.bincount(keys, weights=weights, minlength=size).astype(np.float64, copy=False)


Keep = Callable[[Grams], Bools]


def stable_order(keys: Ints, bound: int) -> Ints:
    """Return the indices that sort `keys` (each in 0 … bound - 1), equal keys in their given order.

    Key and index travel in one 64-bit integer where they fit, because sorting values is several times faster
    than sorting indices.
    """
    shift = max(1, len(keys) - 1).bit_length()
    if int(bound - 1).bit_length() + shift > 63:
        return np.argsort(keys, kind="stable")
    packed = (keys << shift) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << shift) - 1)


def count_grams(text: Coded, max_n: int, keep: Keep | None = None) -> Iterator[Grams]:
    """Count the n-grams of orders 1 … max_n by sentence, one order after the other.

    `keep` marks the grams, (G,) of bool, whose extensions can still matter: longer grams that begin or end in
    any other are left out of all later orders (a gram that no other sentence holds cannot grow into a shared
    one). Memory is a few integers a token, whatever max_n.
    """
    sentence = np.repeat(np.arange(len(text)), text.lengths)
    ends = np.repeat(np.cumsum(text.lengths), text.lengths)
    vocab = int(text.codes.max(initial=0)) + 1
    positions = np.arange(len(text.codes))
    keys, bound = text.codes, vocab
    for n in range(1, max_n + 1):
        order = stable_order(keys, bound)
        where = positions[order]
        grams, ids = _entries(n, keys[order], sentence[where])
        yield grams
        if n == max_n:
            return
        renamed = _rename(np.ones(len(grams.first), bool) if keep is None else keep(grams))
        at = np.full(len(text.codes) + 1, -1)  # the gram that begins at each position, -1: none that matters
        at[where] = renamed[ids]
        positions = positions[
            (at[positions] >= 0) & (at[positions + 1] >= 0) & (positions + n < ends[positions])
        ]
        keys = at[positions] * vocab + text.codes[positions + n]
        bound = (int(renamed.max(initial=0)) + 1) * vocab


def _entries(n: int, keys: Ints, sentence: Ints) -> tuple[Grams, Ints]:
    """Turn keys and sentences, sorted, into entries, and number the gram of every key from 0."""
    new_gram = np.ones(len(keys), bool)
    new_gram[1:] = keys[1:] != keys[:-1]
    new_entry = new_gram.copy()
    new_entry[1:] |= sentence[1:] != sentence[:-1]
    ids = np.cumsum(new_gram) - 1
    starts = np.flatnonzero(new_entry)
    count = np.diff(starts, append=len(keys))
    first = np.flatnonzero(new_gram[starts])
    return Grams(n, ids[starts], sentence[starts], count, first), ids


def _rename(kept: Bools) -> Ints:
    """Number the kept grams from 0; -1 marks the others."""
    return np.where(kept, np.cumsum(kept) - 1, -1)
