"""Overlap with the training text: the longest common substring of a sentence and any training sentence.

Substrings are compared through the suffix array of both texts (Manber and Myers 1993), so that time and
memory hardly depend on their length.
"""

from collections.abc import Iterator

import numpy as np

from seqgen.ngrams.ngrams import Bools, EncodedText, Ints, join, stable_order

MAX_RATIO, MAX_WORDS = 0.7, 15
"""markovify's limits of an overlap, as a fraction of the sentence and in words."""


def longest_common_substring(text: EncodedText, train: EncodedText) -> Ints:
    """Length in tokens of the longest substring that each sentence shares with a training sentence; (N,).

    A substring does not cross the end of a sentence. Both texts are encoded with the same vocabulary.
    """
    if not len(text.ids) or not len(train.ids):
        return np.zeros(len(text), np.int64)
    both = join([text, train])
    ranks = list(_prefix_ranks(both))
    suffixes = np.argsort(ranks[-1][:-1], kind="stable")  # start positions, in the order of their suffixes
    return _largest_per_sentence(_longest_matches(suffixes, len(text.ids), both, ranks), text)


def _longest_matches(suffixes: Ints, size: int, both: EncodedText, ranks: list[Ints]) -> Ints:
    """Length of the longest training substring that begins at each of the first `size` positions; (size,).

    Suffixes with a long common prefix are neighbours in the suffix array. So the longest match of a position
    is with the nearest training suffix before or after it.
    """
    to_sentence_end = np.repeat(np.cumsum(both.lengths), both.lengths) - np.arange(len(both.ids))
    in_text = suffixes < size
    index = np.arange(len(suffixes))
    previous_train = np.maximum.accumulate(np.where(in_text, -1, index))
    next_train = np.minimum.accumulate(np.where(in_text, len(suffixes), index)[::-1])[::-1]
    longest = np.zeros(size, np.int64)
    for neighbour in (previous_train, next_train):
        found = in_text & (neighbour >= 0) & (neighbour < len(suffixes))
        starts, train_starts = suffixes[found], suffixes[neighbour[found]]
        limit = np.minimum(to_sentence_end[starts], to_sentence_end[train_starts])
        length = np.minimum(_common_prefix_length(starts, train_starts, ranks), limit)
        longest[starts] = np.maximum(longest[starts], length)
    return longest


def _largest_per_sentence(values: Ints, text: EncodedText) -> Ints:
    """Return the largest of the values (P,) at the positions of each sentence, 0 for a blank one; (N,)."""
    largest = np.zeros(len(text), np.int64)
    not_blank = np.flatnonzero(text.lengths)
    starts = (np.cumsum(text.lengths) - text.lengths)[not_blank]
    largest[not_blank] = np.maximum.reduceat(values, starts)
    return largest


def _prefix_ranks(text: EncodedText) -> Iterator[Ints]:
    """Yield the rank of every position by its next 1, 2, 4, … tokens within its sentence; (P + 1,).

    Prefix doubling: the rank by 2n tokens is that of the pair of ranks by n tokens here and n tokens later.
    Index P is the position after the text, whose rank is 0.
    """
    end = len(text.ids)
    sentence_ends = np.repeat(np.cumsum(text.lengths), text.lengths)
    rank = np.append(text.ids + 1, 0)
    yield rank
    reach = 1
    while reach < text.lengths.max(initial=0):
        ahead = np.arange(end) + reach
        following = np.append(rank[np.where(ahead < sentence_ends, ahead, end)], 0)
        bound = int(rank.max()) + 1
        keys = rank * bound + following
        order = stable_order(keys, bound * bound)
        ordered = keys[order]
        rank = np.empty_like(keys)
        rank[order] = np.cumsum(np.concatenate([[0], ordered[1:] != ordered[:-1]]))
        yield rank
        reach *= 2


def _common_prefix_length(starts: Ints, others: Ints, ranks: list[Ints]) -> Ints:
    """Count the tokens that agree from two positions on; (K,), (K,) → (K,).

    Equal ranks of level i mean that the next 2**i tokens agree. They also agree where both sentences end
    within those tokens: the caller limits the result to the end of the sentence.
    """
    end = len(ranks[0]) - 1
    length = np.zeros(len(starts), np.int64)
    for level in range(len(ranks) - 1, -1, -1):
        a, b = (np.minimum(position + length, end) for position in (starts, others))
        length += np.where(ranks[level][a] == ranks[level][b], 1 << level, 0)
    return length


def overlaps(longest: Ints, lengths: Ints) -> Bools:
    """Whether a sentence overlaps the training text too much by markovify's rule; (N,), (N,) → (N,).

    It does if the longest common substring has more than min(0.7 of its words, rounded, 15) words, or all of
    its words if there are no more than that. Differences from markovify (`Text.test_sentence_output`): a
    substring lies within one training sentence and consists of whole words. A blank sentence does not
    overlap.
    """
    limit = np.minimum(MAX_WORDS, np.rint(MAX_RATIO * lengths).astype(np.int64))
    return (longest >= np.minimum(limit + 1, lengths)) & (lengths > 0)
