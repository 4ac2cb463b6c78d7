"""Metrics of whole sets: by hand, against slow counts, and the values without each group of a jackknife."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from seqgen.metrics.bleu import self_bleu as scores_of
from seqgen.metrics.diversity import distinct
from seqgen.metrics.set_metrics import (
    frechet_distance,
    jensen_shannon,
    length_distance,
    ngram_metrics,
    self_bleu,
    unique_fraction,
    zipf,
)
from seqgen.ngrams.ngrams import EncodedText, encode_sentences


def two(first: list[str], second: list[str]) -> tuple[EncodedText, EncodedText]:
    vocabulary: dict[str, int] = {}
    encoded = [encode_sentences([line.split() for line in lines], vocabulary) for lines in (first, second)]
    return encoded[0], encoded[1]


def random_lines(rng: random.Random, count: int, words: str = "aabbbcdefg") -> list[str]:
    return [" ".join(rng.choice(words) for _ in range(rng.randint(0, 7))) for _ in range(count)]


def value(metrics: dict, name: str, n: int) -> float:
    return float(metrics[name][n][0])


def test_metrics_of_words_by_hand() -> None:
    # sentences: a ×3, b ×1; references: a ×1, b ×2, c ×1.
    # entropy of (3/4, 1/4); 2 of the 3 words of the references; 2 words.
    # Zipf: log 3 at log 1, log 1 at log 2: the slope is -log 3 / log 2.
    text, refs = two(["a a", "a b"], ["a b", "b c"])
    found = ngram_metrics(text, refs)
    assert value(found, "entropy", 1) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert value(found, "coverage", 1) == pytest.approx(2 / 3)
    assert value(found, "vocabulary", 1) == 2
    assert value(found, "zipf", 1) == pytest.approx(math.log(3) / math.log(2))


def test_jensen_shannon_by_hand() -> None:
    # p = (1/2, 1/2, 0), q = (0, 1/2, 1/2): half of each is in common, so half of log 2
    assert jensen_shannon(np.array([2.0, 2, 0]), np.array([0, 3.0, 3])) == pytest.approx(math.log(2) / 2)
    # bigrams of "a b a": ab, ba; of "a b": ab. p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4)
    found = ngram_metrics(*two(["a b a"], ["a b"]))
    expected = (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25) + math.log(1 / 0.75)) / 2
    assert value(found, "jsd", 2) == pytest.approx(expected)
    assert value(found, "jsd", 3) == pytest.approx(math.log(2))  # only one side has any
    assert math.isnan(value(found, "jsd", 4))  # neither has


def test_ms_jaccard_by_hand() -> None:
    # counts a sentence: "a b" and "a a" against "a b": a 3/2 and 1, b 1/2 and 1: (1 + 1/2) / (3/2 + 1) = 3/5
    # bigrams: ab 1/2 and 1, aa 1/2 and 0: (1/2) / (1 + 1/2) = 1/3; MS-Jaccard-2 = √(3/5 · 1/3)
    found = ngram_metrics(*two(["a b", "a a"], ["a b"]))
    assert value(found, "ms_jaccard", 2) == pytest.approx(math.sqrt(3 / 5 * 1 / 3))
    assert math.isnan(value(found, "ms_jaccard", 3))  # neither has a trigram: 0 would say that all differ
    assert value(ngram_metrics(*two(["a b", "a a"], ["a b c"])), "ms_jaccard", 3) == 0.0


def test_an_order_without_ngrams_has_no_diversity() -> None:
    found = ngram_metrics(*two(["a b", "a"], ["a b c"]), groups=np.array([0, 1]))
    # Without the first sentence there is no bigram, without the second there is one.
    assert found["distinct"][2].tolist() == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    assert found["entropy"][2].tolist() == pytest.approx([0.0, math.nan, 0.0], nan_ok=True)
    assert all(math.isnan(value(found, name, 3)) for name in ("distinct", "entropy"))
    assert value(found, "entropy", 1) == pytest.approx(math.log(3) - 2 * math.log(2) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_slow_counts(seed: int) -> None:
    rng = random.Random(seed)
    lines, others = random_lines(rng, 31), random_lines(rng, 23)
    text, refs = two(lines, others)
    found = ngram_metrics(text, refs)
    product = 1.0
    for n in range(1, 6):
        p, q = (
            Counter(
                tuple(words[i : i + n]) for words in map(str.split, side) for i in range(len(words) - n + 1)
            )
            for side in (lines, others)
        )
        low = sum(min(p[g] / 31, q[g] / 23) for g in p | q)
        product *= low / sum(max(p[g] / 31, q[g] / 23) for g in p | q)
        if n < 5:
            frequencies = [count / p.total() for count in p.values()]
            assert value(found, "entropy", n) == pytest.approx(-sum(s * math.log(s) for s in frequencies))
            assert value(found, "distinct", n) == distinct(text)[n]
        if n > 1:
            assert value(found, "ms_jaccard", n) == pytest.approx(product ** (1 / n))
            divergence = 0.0
            for side, total in ((p, p.total()), (q, q.total())):
                for g, count in side.items():
                    middle = (p[g] / p.total() + q[g] / q.total()) / 2
                    divergence += count / total * math.log(count / total / middle) / 2
            assert value(found, "jsd", n) == pytest.approx(divergence)


def test_text_is_closest_to_itself() -> None:
    text, same = two(["a b c d e", "b c"], ["a b c d e", "b c"])
    found = ngram_metrics(text, same)
    for n in range(2, 6):
        assert value(found, "jsd", n) == pytest.approx(0.0, abs=1e-12)
        assert value(found, "ms_jaccard", n) == pytest.approx(1.0)
    assert value(found, "coverage", 1) == 1.0


def test_zipf_recovers_the_exponent_of_a_power_law() -> None:
    assert zipf(1e6 * np.arange(1.0, 400.0) ** -1.3) == pytest.approx(1.3)
    # words beyond the 5,000 most frequent do not count
    assert zipf(np.append(1e9 * np.arange(1.0, 5001.0) ** -0.8, np.ones(999))) == pytest.approx(0.8)
    assert zipf(np.array([3.0])) == 0.0


def test_every_metric_without_a_group_is_that_of_the_rest() -> None:
    rng = random.Random(7)
    lines, others = random_lines(rng, 29), random_lines(rng, 13)
    text, refs = two(lines, others)
    groups = np.array([rng.randrange(3) for _ in lines])
    metrics = ngram_metrics(text, refs, groups)
    self_bleus = self_bleu(text, groups)
    lengths = length_distance(text.lengths, refs.lengths, groups)
    numbers = np.array([[*dict.fromkeys(lines)].index(line) for line in lines])
    unique = unique_fraction(numbers, groups)
    vectors, other_vectors = (np.random.default_rng(s).standard_normal((n, 5)) for s, n in ((0, 29), (1, 13)))
    frechet = frechet_distance(vectors, other_vectors, groups)
    for j in range(3):
        kept = groups != j
        rest = text.take(np.flatnonzero(kept))
        alone = ngram_metrics(rest, refs)
        for name, orders in metrics.items():
            for n, values in orders.items():
                assert values[1 + j] == pytest.approx(value(alone, name, n), rel=1e-9), (name, n)
        for n, values in self_bleus.items():
            words = [line.split() for line, keep in zip(lines, kept, strict=True) if keep]
            assert values[1 + j] == pytest.approx(scores_of(words)[n].mean())
        assert lengths[1 + j] == pytest.approx(length_distance(rest.lengths, refs.lengths)[0])
        assert unique[1 + j] == pytest.approx(len(set(numbers[kept])) / kept.sum())
        assert frechet[1 + j] == pytest.approx(frechet_distance(vectors[kept], other_vectors)[0], rel=1e-9)


def test_length_distance_by_hand() -> None:
    # lengths 1, 3 against 2, 2: each half moves by one token
    assert length_distance(np.array([1, 3]), np.array([2, 2]))[0] == pytest.approx(1.0)
    assert length_distance(np.array([5]), np.array([2]))[0] == pytest.approx(3.0)


def test_frechet_distance_in_closed_form() -> None:
    # Points ±s on each axis have covariance s²/2 in two dimensions; |m|² + 2 (s/√2 - t/√2)²
    def cross(s: float, at: tuple[float, float]) -> np.ndarray:
        return np.array([[s, 0], [-s, 0], [0, s], [0, -s]]) + at

    found = frechet_distance(cross(3.0, (1, 2)), cross(5.0, (4, 6)))[0]
    assert found == pytest.approx(9 + 16 + 2 * (5 / math.sqrt(2) - 3 / math.sqrt(2)) ** 2)
    # full covariances: the trace of the root from the eigenvalues of the product, which is not symmetric
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((41, 3)) @ rng.standard_normal((3, 3)), rng.standard_normal((37, 3))
    cx, cy = np.cov(x.T, ddof=0), np.cov(y.T, ddof=0)
    root = np.sqrt(np.linalg.eigvals(cx @ cy).real).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * root
    assert frechet_distance(x, y)[0] == pytest.approx(expected)
    assert frechet_distance(x, x)[0] == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x[:, :1], y[:, :1])[0] > 0  # one dimension is no special case
