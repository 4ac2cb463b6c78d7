"""How varied a set of sentences is, how much of it is new, and how long its sentences are."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from seqgen.ngrams.ngrams import Coded, count_grams

QUANTILES = {"5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95}


def distinct(text: Coded, max_n: int = 4) -> dict[int, float]:
    """distinct-n: different n-grams over all n-grams of the whole text, in [0, 1], 0 without any; {n: share}.

    Li et al. 2016 (A Diversity-Promoting Objective Function) divide by the number of tokens; dividing by the
    number of n-grams, as is usual since, differs only for n > 1 and lets every order reach 1. It falls as the
    text grows.
    """
    shares = {n: 0.0 for n in range(1, max_n + 1)}
    for grams in count_grams(text, max_n):
        if len(grams.first):
            shares[grams.n] = len(grams.first) / int(grams.count.sum())
    return shares


def unique(lines: Sequence[str]) -> float:
    """Share of different sentences, white space normalised: |set| / N, in [0, 1]."""
    return len({" ".join(line.split()) for line in lines}) / len(lines)


def copied(lines: Sequence[str], train: Iterable[str]) -> list[bool]:
    """Whether each sentence stands in the training set, regardless of case and white space.

    So lenient because a tokenizer may have lost either ("a dog ." for "A dog."). Holds the sentences in
    memory, not the training set. A blank sentence is no copy.
    """
    keys = [_key(line) for line in lines]
    wanted = set(keys) - {""}
    found = {key for key in map(_key, train) if key in wanted}
    return [key in found for key in keys]


def copies(lines: Sequence[str], train: Iterable[str]) -> int:
    """Count the sentences that `copied` marks; what is not a copy is new: novel = 1 - copies / N."""
    return sum(copied(lines, train))


def most_repeated(lines: Sequence[str], top: int = 5) -> list[tuple[str, int]]:
    """The sentences that stand most often, at least twice, white space normalised, with their counts."""
    counts = Counter(" ".join(line.split()) for line in lines)
    return [(line, count) for line, count in counts.most_common(top) if count > 1]


def _key(line: str) -> str:
    return "".join(line.split()).casefold()


def length_statistics(text: Coded) -> dict[str, float]:
    """Tokens a sentence: mean, sd (of the set, ddof 0), min, max and the quantiles 5 to 95 %."""
    lengths = text.lengths
    summary = {"mean": lengths.mean(), "sd": lengths.std(), "min": lengths.min(), "max": lengths.max()}
    summary |= {name: np.quantile(lengths, q) for name, q in QUANTILES.items()}
    return {name: float(value) for name, value in summary.items()}


def vocabulary_size(text: Coded) -> int:
    """Count the different tokens."""
    return len(np.unique(text.codes))
