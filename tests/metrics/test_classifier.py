"""The classifier two-sample test: chance on equal text, certainty on different text, and its interval."""

import random

import numpy as np
import pytest
import torch

from seqgen.metrics.classifier import (
    _conjugate_gradients,
    _Features,
    _log_odds,
    _newton,
    classifier_two_sample_test,
    wilson_interval,
)
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.ngrams import EncodedText, encode_sentences
from seqgen.ngrams.sparse_ngrams import SparseMatrix, ngram_matrix


def encode_pair(first: list[str], second: list[str]) -> tuple[EncodedText, EncodedText]:
    vocabulary: dict[str, int] = {}
    encoded = [encode_sentences([line.split() for line in lines], vocabulary) for lines in (first, second)]
    return encoded[0], encoded[1]


def chain(rng: random.Random, count: int, *, keep: float) -> list[str]:
    """Sentences of equally likely letters; `keep`: probability of a repetition, unseen by unigrams."""
    lines = []
    for _ in range(count):
        words = [rng.choice("ab")]
        while len(words) < 12:
            words.append(words[-1] if rng.random() < keep else rng.choice("ab"))
        lines.append(" ".join(words))
    return lines


def test_accuracy_on_equal_text_is_chance() -> None:
    rng = random.Random(0)
    found = classifier_two_sample_test(*encode_pair(chain(rng, 1500, keep=0.3), chain(rng, 1500, keep=0.3)))
    assert found is not None
    assert found.tested == 2 * 450
    assert found.interval[0] < 0.5 < found.interval[1]


def test_a_different_order_of_words_is_detected() -> None:
    rng = random.Random(1)
    found = classifier_two_sample_test(*encode_pair(chain(rng, 1000, keep=0.0), chain(rng, 1000, keep=0.8)))
    assert found is not None
    assert found.accuracy > 0.9


def test_a_different_length_is_detected() -> None:
    rng = random.Random(2)
    short, long = (
        [" ".join(rng.choice("abcdefgh") for _ in range(size)) for _ in range(300)] for size in (5, 7)
    )
    found = classifier_two_sample_test(*encode_pair(short, long))
    assert found is not None
    assert found.accuracy > 0.95


def test_a_word_of_only_one_text_gives_certainty() -> None:
    found = classifier_two_sample_test(*encode_pair(["x a b"] * 100, ["a b y"] * 130))
    assert found is not None
    assert (found.accuracy, found.tested) == (1.0, 60)


def test_the_same_seed_gives_the_same_result_and_few_sentences_none() -> None:
    rng = random.Random(3)
    text = encode_pair(chain(rng, 60, keep=0.2), chain(rng, 50, keep=0.5))
    assert classifier_two_sample_test(*text, seed=1) == classifier_two_sample_test(*text, seed=1)
    assert classifier_two_sample_test(*encode_pair(["a b"] * 19, ["a b"] * 100)) is None
    assert classifier_two_sample_test(*encode_pair([""] * 30, [""] * 30)) is not None


def test_wilsons_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20
    assert wilson_interval(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson_interval(15, 148) == (pytest.approx(0.0624, abs=1e-4), pytest.approx(0.1605, abs=1e-4))
    assert wilson_interval(0, 20) == (0.0, pytest.approx(0.1611, abs=1e-4))


def test_the_fit_is_the_minimum_of_the_penalised_loss() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((53, 3))
    rows, columns = np.nonzero(rng.random((53, 7)) < 0.3)
    sparse = SparseMatrix(rows, columns, rng.random(len(rows)), (53, 7))
    labels = torch.from_numpy((dense[:, 0] + rng.standard_normal(53) > 0).astype(float))
    weights = _newton(_Features(sparse, dense), labels).requires_grad_()
    matrix = torch.zeros(53, 7, dtype=torch.float64)
    matrix[rows, columns] = torch.from_numpy(sparse.values)
    logits = torch.cat([matrix, torch.from_numpy(dense)], dim=1) @ weights
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    (loss + weights.square().sum() / 2).backward()
    assert weights.grad is not None
    assert weights.grad.abs().max() < 1e-4


def test_log_odds_come_from_models_not_fitted_to_the_sentence() -> None:
    rng = random.Random(4)
    lines = [*chain(rng, 30, keep=0.1), *chain(rng, 30, keep=0.7)]
    text = encode_sentences([line.split() for line in lines], {})
    is_real, part = np.arange(60) >= 30, np.arange(60) % 3
    found = _log_odds(text, is_real, part)

    def odds(fold: int) -> np.ndarray:
        real, other = (
            kneser_ney.fit(text.take(np.flatnonzero((part == fold) & side)), np.arange(2), 4).nll(text)
            for side in (is_real, ~is_real)
        )
        return other - real

    first, second = odds(1), odds(2)
    expected = np.select([part == 0, part == 1], [(first + second) / 2, second], first)
    np.testing.assert_allclose(found[:, 1], expected / 10, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[:, 0], np.sign(expected) * np.sqrt(np.abs(expected)), rtol=0, atol=1e-9)
    assert (found[30:, 1] > found[:30, 1].mean()).mean() > 0.7  # above 0: real


def test_conjugate_gradients_solve() -> None:
    matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    found = _conjugate_gradients(lambda v: matrix @ v, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([1 / 11, 7 / 11], rel=0.05)


def test_products_of_sparse_matrices_equal_dense_ones() -> None:
    text = encode_sentences([["a", "b", "a"], [], ["b", "a"], ["c"]], {})
    counts = ngram_matrix(text, 2)  # shared: a, b, "b a"
    assert counts.shape == (4, 3)
    dense = np.zeros(counts.shape)
    dense[counts.rows, counts.columns] = counts.values
    assert dense.tolist() == [[2, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
    other = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    assert (counts @ other).tolist() == (dense @ other.numpy()).tolist()
    four = torch.arange(8, dtype=torch.float64).reshape(4, 2)
    assert (counts.transposed() @ four).tolist() == (dense.T @ four.numpy()).tolist()
    kept = counts.take(np.array([False, True, True, True]))
    assert (kept @ other).tolist() == (dense[1:] @ other.numpy()).tolist()
    lengths = (counts.unit_rows() @ torch.eye(3, dtype=torch.float64)).square().sum(dim=1)
    assert lengths.tolist() == pytest.approx([1, 0, 1, 0])
