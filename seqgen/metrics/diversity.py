"""Diversity, novelty and length statistics of a set of sentences."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from seqgen.ngrams.ngrams import EncodedText, count_ngrams

QUANTILES = {"5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95}


def distinct(text: EncodedText, max_n: int = 4) -> dict[int, float]:
    """distinct-n: distinct n-grams over all n-grams of the text, in [0, 1], 0 without any; {n: distinct-n}.

    Li et al. 2016 (A Diversity-Promoting Objective Function) divide by the number of tokens; dividing by the
    number of n-grams, as is usual today, differs only for n > 1, where it lets the value reach 1. The value
    falls as the text grows.
    """
    ratios = {n: 0.0 for n in range(1, max_n + 1)}
    for grams in count_ngrams(text, max_n):
        if len(grams.first):
            ratios[grams.n] = len(grams.first) / int(grams.count.sum())
    return ratios


def unique_fraction(lines: Sequence[str]) -> float:
    """Fraction of distinct sentences, white space normalised: |set| / N, in [0, 1]."""
    return len({" ".join(line.split()) for line in lines}) / len(lines)


def copied(lines: Sequence[str], train: Iterable[str]) -> list[bool]:
    """Whether each sentence is in the training set, regardless of case and white space.

    Both are ignored because a tokenizer may have changed them ("a dog ." for "A dog."). The sentences are
    kept in memory, the training set is not. A blank sentence is not a copy.
    """
    keys = [_key(line) for line in lines]
    wanted = set(keys) - {""}
    found = {key for key in map(_key, train) if key in wanted}
    return [key in found for key in keys]


def copies(lines: Sequence[str], train: Iterable[str]) -> int:
    """Count the sentences that `copied` marks; the fraction of novel sentences is 1 - copies / N."""
    return sum(copied(lines, train))


def most_repeated(lines: Sequence[str], top: int = 5) -> list[tuple[str, int]]:
    """The most frequent sentences that occur at least twice, white space normalised, with their counts."""
    counts = Counter(" ".join(line.split()) for line in lines)
    return [(line, count) for line, count in counts.most_common(top) if count > 1]


def _key(line: str) -> str:
    return "".join(line.split()).casefold()


def length_statistics(text: EncodedText) -> dict[str, float]:
    """Tokens a sentence: mean, sd (of the set, ddof 0), min, max and the quantiles 5 to 95 %."""
    lengths = text.lengths
    summary = {"mean": lengths.mean(), "sd": lengths.std(), "min": lengths.min(), "max": lengths.max()}
    summary |= {name: np.quantile(lengths, q) for name, q in QUANTILES.items()}
    return {name: float(value) for name, value in summary.items()}
