"""BLEU and self-BLEU of every sentence, as NLTK's `sentence_bleu` defines them, from one count of n-grams.

Papineni et al. 2002 with Chen and Cherry 2014's first smoothing (`SmoothingFunction().method1`): for BLEU-n
the weights are 1/n each, clipped counts take the maximum over the references, an order without a match counts
0.1, an order longer than the sentence has denominator 1, the brevity penalty uses the reference nearest in
length (the shorter of two), and a sentence without any known word scores 0.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from seqgen.core.errors import UserError
from seqgen.ngrams.ngrams import Coded, Floats, Grams, Ints, code_sentences, count_grams, join

EPSILON = 0.1
"""What method1 puts for a numerator of zero."""
CHUNK_TOKENS = 4_000_000
"""Tokens of hypotheses that are counted beside the references at a time."""

Scores = dict[int, Floats]
Combine = Callable[[Ints, Ints, Floats], Scores]
"""How lengths (N,), reference lengths (N,) and clipped matches (max_n, N) become scores."""


def bleu(hyps: Sequence[Sequence[str]], refs: Sequence[Sequence[str]], max_n: int = 5) -> Scores:
    """BLEU-2 … BLEU-max_n of every hypothesis against all references; {n: (N,)}, in [0, 1].

    Equal to NLTK's `sentence_bleu(refs, hyp, (1/n,) * n, method1)` to rounding. UserError without references.
    """
    vocabulary: dict[str, int] = {}
    reference = code_sentences(refs, vocabulary)
    return bleu_of(code_sentences(hyps, vocabulary), reference, max_n=max_n)


def self_bleu(hyps: Sequence[Sequence[str]], max_n: int = 5) -> Scores:
    """BLEU-2 … BLEU-max_n of every sentence against all the others; {n: (N,)}.

    Leave-one-out (Zhu et al. 2018): the sentence itself is never among its references, another one of the
    same words is. Lower is more varied, and the value grows with the number of sentences. UserError for
    fewer than two sentences.
    """
    return self_bleu_of(code_sentences(hyps, {}), max_n=max_n)


def method1_scores(lengths: Ints, ref_lengths: Ints, matched: Floats) -> Scores:
    """Return brevity penalty times mean precision from clipped matches (max_n, N) and lengths (N,)."""
    orders = np.arange(1, len(matched) + 1)[:, None]
    possible = np.maximum(1, lengths - orders + 1)
    log_precision = np.log(np.where(matched > 0, matched, EPSILON) / possible)
    penalty = brevity_penalty(lengths, ref_lengths)
    penalty[matched[0] == 0] = 0.0  # no word matches, or there is none
    means = np.cumsum(log_precision, axis=0) / orders
    return {n: penalty * np.exp(means[n - 1]) for n in range(2, len(matched) + 1)}


def brevity_penalty(lengths: Ints, ref_lengths: Ints) -> Floats:
    """exp(1 - r / c) of sentences of c words shorter than the reference's r, else 1; (N,)."""
    short = lengths <= ref_lengths
    return np.where(short, np.exp(1 - ref_lengths / np.maximum(1, lengths)), 1.0)


def bleu_of(
    hyps: Coded,
    refs: Coded,
    *,
    max_n: int = 5,
    chunk_tokens: int = CHUNK_TOKENS,
    combine: Combine = method1_scores,
) -> Scores:
    """Do what `bleu` does for texts coded by one vocabulary; `combine` may be another protocol's."""
    matched = matches(hyps, refs, max_n, chunk_tokens)
    return combine(hyps.lengths, closest_lengths(hyps.lengths, refs.lengths), matched)


def self_bleu_of(text: Coded, *, max_n: int = 5, combine: Combine = method1_scores) -> Scores:
    """Do what `self_bleu` does for a coded text; `combine` may be another protocol's."""
    if len(text) < 2:
        raise UserError(
            f"self-BLEU compares sentences with each other: {len(text)} given, at least 2 are needed"
        )
    matched = np.zeros((max_n, len(text)))
    for grams in count_grams(text, max_n, keep=lambda g: g.sentences() > 1):
        matched[grams.n - 1] = np.bincount(
            grams.sentence, weights=_clipped_by_others(grams), minlength=len(text)
        )
    return combine(text.lengths, closest_other_lengths(text.lengths), matched)


def matches(hyps: Coded, refs: Coded, max_n: int, chunk_tokens: int = CHUNK_TOKENS) -> Floats:
    """Count each hypothesis' n-grams that one reference holds, as often as any one does; (max_n, N)."""
    if not len(refs):
        raise UserError("BLEU compares with references: none given, at least 1 is needed")
    # A chunk no smaller than the references keeps the cost of counting them again below that of the chunks.
    size = max(chunk_tokens, len(refs.codes))
    parts = [_matches(part, refs, max_n) for part in chunks(hyps, size)]
    return np.concatenate([np.zeros((max_n, 0)), *parts], axis=1)


def chunks(text: Coded, tokens: int) -> Iterator[Coded]:
    """Cut a text into runs of sentences of about so many tokens: at most that and one sentence more."""
    chunk = np.cumsum(text.lengths) // tokens
    bounds = [*np.flatnonzero(np.diff(chunk, prepend=-1)), len(text)]
    for start, stop in pairwise(bounds):
        yield text[start:stop]


def _matches(hyps: Coded, refs: Coded, max_n: int) -> Floats:
    size = len(hyps)
    matched = np.zeros((max_n, size))

    def shared(grams: Grams) -> np.ndarray:
        last = grams.first + grams.sentences() - 1  # hypotheses are numbered before references
        return (grams.sentence[grams.first] < size) & (grams.sentence[last] >= size)

    for grams in count_grams(join([hyps, refs]), max_n, keep=shared):
        if not len(grams.first):
            break
        ours = grams.sentence < size
        ceiling = np.maximum.reduceat(np.where(ours, 0, grams.count), grams.first)
        clipped = np.minimum(grams.count, ceiling[grams.gram])[ours]
        matched[grams.n - 1] = np.bincount(grams.sentence[ours], weights=clipped, minlength=size)
    return matched


def _clipped_by_others(grams: Grams) -> Ints:
    """Clip each entry's count to the largest count of the same gram in any other sentence; (K,).

    Only the sentence that alone holds the largest count can lose by this: it falls to the second largest.
    """
    if not len(grams.first):
        return grams.count
    largest = np.maximum.reduceat(grams.count, grams.first)[grams.gram]
    is_largest = grams.count == largest
    alone = np.add.reduceat(is_largest.astype(np.int64), grams.first)[grams.gram] == 1
    second = np.maximum.reduceat(np.where(is_largest, 0, grams.count), grams.first)[grams.gram]
    return np.where(is_largest & alone, second, grams.count)


def closest_lengths(lengths: Ints, ref_lengths: Ints) -> Ints:
    """For each length the nearest among the references', the shorter of two equally near; (N,)."""
    known = np.unique(ref_lengths)
    right = np.searchsorted(known, lengths).clip(max=len(known) - 1)
    above, below = known[right], known[(right - 1).clip(min=0)]
    return np.where(np.abs(below - lengths) <= np.abs(above - lengths), below, above)


def closest_other_lengths(lengths: Ints) -> Ints:
    """For each sentence's length the nearest among the other sentences' lengths; (N,)."""
    known, which, count = np.unique(lengths, return_inverse=True, return_counts=True)
    nearest = known.copy()
    for i in np.flatnonzero(count == 1):
        nearest[i] = closest_lengths(known[i : i + 1], np.delete(known, i))[0]
    return nearest[which]
