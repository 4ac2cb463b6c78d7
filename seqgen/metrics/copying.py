"""How much of a sentence stands in the training text: the longest run of words shared with a sentence of it.

Runs are found in a suffix array of both texts (Manber and Myers 1993), so that time and memory hardly depend
on how long they are.
"""

from collections.abc import Iterator

import numpy as np

from seqgen.ngrams.ngrams import Bools, Coded, Ints, join, stable_order

MAX_RATIO, MAX_WORDS = 0.7, 15
"""markovify's limits of a run, as a share of the sentence and in words."""


def longest_shared(text: Coded, train: Coded) -> Ints:
    """Length in tokens of the longest run that each sentence shares with any training sentence; (N,).

    A run lies within one sentence on either side. The texts are coded by one vocabulary.
    """
    if not len(text.codes) or not len(train.codes):
        return np.zeros(len(text), np.int64)
    both = join([text, train])
    ranks = list(_ranks(both))
    order = np.argsort(ranks[-1][:-1], kind="stable")
    ours = order < len(text.codes)
    left = np.repeat(np.cumsum(both.lengths), both.lengths) - np.arange(len(both.codes))
    # The longest run that begins at a place is shared with the nearest training place before or after it.
    index = np.arange(len(order))
    before = np.maximum.accumulate(np.where(ours, -1, index))
    after = np.minimum.accumulate(np.where(ours, len(order), index)[::-1])[::-1]
    best = np.zeros(len(text.codes), np.int64)
    for neighbour, exists in ((before, before >= 0), (after, after < len(order))):
        here = ours & exists
        places, others = order[here], order[neighbour[here]]
        shared = np.minimum(_common(places, others, ranks), np.minimum(left[places], left[others]))
        best[places] = np.maximum(best[places], shared)
    longest = np.zeros(len(text), np.int64)
    filled = np.flatnonzero(text.lengths)
    starts = (np.cumsum(text.lengths) - text.lengths)[filled]
    longest[filled] = np.maximum.reduceat(best, starts)
    return longest


def _ranks(text: Coded) -> Iterator[Ints]:
    """Rank every place by its next 1, 2, 4, … tokens within its sentence; (P + 1,), the last is an end."""
    end = len(text.codes)
    stops = np.repeat(np.cumsum(text.lengths), text.lengths)
    rank = np.append(text.codes + 1, 0)
    yield rank
    reach = 1
    while reach < text.lengths.max(initial=0):
        ahead = np.arange(end) + reach
        following = np.append(rank[np.where(ahead < stops, ahead, end)], 0)
        bound = int(rank.max()) + 1
        keys = rank * bound + following
        order = stable_order(keys, bound * bound)
        ordered = keys[order]
        rank = np.empty_like(keys)
        rank[order] = np.cumsum(np.concatenate([[0], ordered[1:] != ordered[:-1]]))
        yield rank
        reach *= 2


def _common(places: Ints, others: Ints, ranks: list[Ints]) -> Ints:
    """Count the tokens that two places share from there on; too many where a sentence ends before; (K,)."""
    end = len(ranks[0]) - 1
    shared = np.zeros(len(places), np.int64)
    for level in range(len(ranks) - 1, -1, -1):
        a, b = (np.minimum(p + shared, end) for p in (places, others))
        shared += np.where(ranks[level][a] == ranks[level][b], 1 << level, 0)
    return shared


def overlaps(longest: Ints, lengths: Ints) -> Bools:
    """Whether a sentence overlaps the training text too much by markovify's rule; (N,).

    It does if it shares a run of more than min(0.7 of its words, rounded, 15) words, or all its words where
    it has no more than that. Differences from markovify (`Text.test_sentence_output`): a run lies within one
    training sentence, and its words are whole ones. A blank sentence does not overlap.
    """
    limit = np.minimum(MAX_WORDS, np.rint(MAX_RATIO * lengths).astype(np.int64))
    return (longest >= np.minimum(limit + 1, lengths)) & (lengths > 0)
