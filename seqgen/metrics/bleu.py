"""BLEU and self-BLEU of every sentence, equal to NLTK's `sentence_bleu`, from one count of the n-grams.

Papineni et al. 2002 with Chen and Cherry 2014's first smoothing (`SmoothingFunction().method1`): for BLEU-n
the weights are 1/n each, clipped counts take the maximum over the references, an order without a match counts
0.1, an order longer than the sentence has denominator 1, the brevity penalty uses the reference nearest in
length (the shorter of two), and a sentence without any known word scores 0.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from seqgen.core.errors import UserError
from seqgen.ngrams.ngrams import EncodedText, Floats, Ints, NgramCounts, count_ngrams, encode_sentences, join

EPSILON = 0.1
"""Numerator that method1 uses in place of zero."""
CHUNK_TOKENS = 4_000_000
"""Tokens of hypotheses counted together with the references at a time."""

ScoresByOrder = dict[int, Floats]
Combine = Callable[[Ints, Ints, Floats], ScoresByOrder]
"""From lengths (N,), reference lengths (N,) and clipped matches (max_n, N) to the scores of a protocol."""


def bleu(hyps: Sequence[Sequence[str]], refs: Sequence[Sequence[str]], max_n: int = 5) -> ScoresByOrder:
    """BLEU-2 … BLEU-max_n of every hypothesis against all references; {n: (N,)}, in [0, 1].

    Equal to NLTK's `sentence_bleu(refs, hyp, (1/n,) * n, method1)` to rounding. UserError without references.
    """
    vocabulary: dict[str, int] = {}
    encoded_refs = encode_sentences(refs, vocabulary)
    return bleu_of_encoded(encode_sentences(hyps, vocabulary), encoded_refs, max_n=max_n)


def self_bleu(hyps: Sequence[Sequence[str]], max_n: int = 5) -> ScoresByOrder:
    """BLEU-2 … BLEU-max_n of every sentence against all the others; {n: (N,)}.

    Leave-one-out (Zhu et al. 2018): a sentence is not among its own references, but a duplicate of it is.
    Lower is more diverse; the value grows with the number of sentences. UserError for fewer than two.
    """
    return self_bleu_of_encoded(encode_sentences(hyps, {}), max_n=max_n)


def method1_scores(lengths: Ints, ref_lengths: Ints, matched: Floats) -> ScoresByOrder:
    """Return brevity penalty times mean precision from clipped matches (max_n, N) and lengths (N,)."""
    orders = np.arange(1, len(matched) + 1)[:, None]
    possible = np.maximum(1, lengths - orders + 1)
    log_precision = np.log(np.where(matched > 0, matched, EPSILON) / possible)
    penalty = brevity_penalty(lengths, ref_lengths)
    penalty[matched[0] == 0] = 0.0  # no word matches, or the sentence is blank
    means = np.cumsum(log_precision, axis=0) / orders
    return {n: penalty * np.exp(means[n - 1]) for n in range(2, len(matched) + 1)}


def brevity_penalty(lengths: Ints, ref_lengths: Ints) -> Floats:
    """exp(1 - r / c) of sentences of c words shorter than the reference's r, else 1; (N,)."""
    short = lengths <= ref_lengths
    return np.where(short, np.exp(1 - ref_lengths / np.maximum(1, lengths)), 1.0)


def bleu_of_encoded(
    hyps: EncodedText,
    refs: EncodedText,
    *,
    max_n: int = 5,
    chunk_tokens: int = CHUNK_TOKENS,
    combine: Combine = method1_scores,
) -> ScoresByOrder:
    """`bleu` of texts encoded with the same vocabulary; `combine` may be that of another protocol."""
    matched = clipped_matches(hyps, refs, max_n, chunk_tokens)
    return combine(hyps.lengths, closest_lengths(hyps.lengths, refs.lengths), matched)


def self_bleu_of_encoded(
    text: EncodedText, *, max_n: int = 5, combine: Combine = method1_scores
) -> ScoresByOrder:
    """`self_bleu` of an encoded text; `combine` may be that of another protocol."""
    if len(text) < 2:
        raise UserError(
            f"self-BLEU compares sentences with each other: {len(text)} given, at least 2 are needed"
        )
    matched = np.zeros((max_n, len(text)))
    for grams in count_ngrams(text, max_n, keep=lambda g: g.sentences() > 1):
        matched[grams.n - 1] = np.bincount(
            grams.sentence, weights=_clipped_by_others(grams), minlength=len(text)
        )
    return combine(text.lengths, closest_other_lengths(text.lengths), matched)


def clipped_matches(
    hyps: EncodedText, refs: EncodedText, max_n: int, chunk_tokens: int = CHUNK_TOKENS
) -> Floats:
    """Count n-gram matches of each hypothesis, clipped to the largest count in one reference; (max_n, N)."""
    if not len(refs):
        raise UserError("BLEU compares with references: none given, at least 1 is needed")
    # Each chunk counts the references again: one as large as the references at most doubles the cost.
    size = max(chunk_tokens, len(refs.ids))
    parts = [_matches_of_chunk(part, refs, max_n) for part in chunks(hyps, size)]
    return np.concatenate([np.zeros((max_n, 0)), *parts], axis=1)


def chunks(text: EncodedText, tokens: int) -> Iterator[EncodedText]:
    """Split a text into chunks of about so many tokens: at most that and one sentence more."""
    chunk = np.cumsum(text.lengths) // tokens
    bounds = [*np.flatnonzero(np.diff(chunk, prepend=-1)), len(text)]
    for start, stop in pairwise(bounds):
        yield text[start:stop]


def _matches_of_chunk(hyps: EncodedText, refs: EncodedText, max_n: int) -> Floats:
    size = len(hyps)
    matched = np.zeros((max_n, size))

    def shared(grams: NgramCounts) -> np.ndarray:
        last = grams.first + grams.sentences() - 1  # hypotheses have lower indices than references
        return (grams.sentence[grams.first] < size) & (grams.sentence[last] >= size)

    for grams in count_ngrams(join([hyps, refs]), max_n, keep=shared):
        if not len(grams.first):
            break
        is_hyp = grams.sentence < size
        largest = np.maximum.reduceat(np.where(is_hyp, 0, grams.count), grams.first)
        clipped = np.minimum(grams.count, largest[grams.gram])[is_hyp]
        matched[grams.n - 1] = np.bincount(grams.sentence[is_hyp], weights=clipped, minlength=size)
    return matched


def _clipped_by_others(grams: NgramCounts) -> Ints:
    """Clip each entry's count to the largest count of the same n-gram in any other sentence; (K,).

    This changes an entry only if it is the one largest count: it is reduced to the second largest.
    """
    if not len(grams.first):
        return grams.count
    largest = np.maximum.reduceat(grams.count, grams.first)[grams.gram]
    is_largest = grams.count == largest
    count_of_largest = np.add.reduceat(is_largest.astype(np.int64), grams.first)[grams.gram]
    second = np.maximum.reduceat(np.where(is_largest, 0, grams.count), grams.first)[grams.gram]
    return np.where(is_largest & (count_of_largest == 1), second, grams.count)


def closest_lengths(lengths: Ints, ref_lengths: Ints) -> Ints:
    """Closest reference length to each length, the shorter of two equally close; (N,)."""
    known = np.unique(ref_lengths)
    right = np.searchsorted(known, lengths).clip(max=len(known) - 1)
    above, below = known[right], known[(right - 1).clip(min=0)]
    return np.where(np.abs(below - lengths) <= np.abs(above - lengths), below, above)


def closest_other_lengths(lengths: Ints) -> Ints:
    """Closest length among the other sentences to the length of each; (N,)."""
    known, which, count = np.unique(lengths, return_inverse=True, return_counts=True)
    nearest = known.copy()
    for i in np.flatnonzero(count == 1):
        nearest[i] = closest_lengths(known[i : i + 1], np.delete(known, i))[0]
    return nearest[which]
