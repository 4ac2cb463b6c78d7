"""Classifier two-sample test (Lopez-Paz and Oquab 2017): the accuracy of samples against held-out real text.

Chance, 0.5, is the best result. The classifier is logistic regression on the presence of 1- to 3-grams, the
length, and the log-odds of two Kneser–Ney models, one fitted to samples and one to real text: the n-grams
detect words, and the models detect sequences that differ. The models score only sentences they were not
fitted to, and the accuracy is of held-out sentences. A better classifier might reach more: an accuracy of 0.5
does not prove that both texts have the same distribution.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.ngrams import kneser_ney
from seqgen.ngrams.ngrams import Bools, EncodedText, Floats, Ints, join
from seqgen.ngrams.sparse_ngrams import SparseMatrix, ngram_matrix

CHANCE = 0.5
MAX_SENTENCES, MIN_SENTENCES = 10_000, 20
"""Sentences of each text."""
TEST_FRACTION, FOLDS = 0.3, 2
"""Fraction of test sentences; folds of the training sentences, which score each other's sentences."""
ORDER, LM_ORDER = 3, 4
NEWTON_STEPS, CG_STEPS, CG_TOLERANCE = 8, 15, 0.1
Z95 = 1.959964


@dataclass(frozen=True)
class ClassifierTest:
    """Accuracy on balanced test sentences."""

    accuracy: float
    interval: tuple[float, float]
    """95 %, Wilson's, for a binomial of `tested` trials"""
    tested: int
    """test sentences of both texts"""


def classifier_two_sample_test(
    samples: EncodedText, real: EncodedText, *, seed: int = 0
) -> ClassifierTest | None:
    """Train on 70 % of equally many samples and real sentences, test on the rest; None for fewer than 20.

    At most 10,000 of each are used, drawn by `seed`. Both texts are encoded with one vocabulary.
    """
    size = min(len(samples), len(real), MAX_SENTENCES)
    if size < MIN_SENTENCES:
        return None
    rng = np.random.default_rng(seed)
    text = join([side.take(rng.permutation(len(side))[:size]) for side in (samples, real)])
    is_real = np.repeat([False, True], size)
    # Both texts are split alike, so that each part is balanced. Part 0 is the test set, the others train.
    tested = max(1, int(TEST_FRACTION * size))
    part = np.concatenate([rng.permutation(_assign_parts(size, tested)) for _ in range(2)])
    dense = np.column_stack([_log_odds(text, is_real, part), _standardised(text.lengths), np.ones(2 * size)])
    correct = _logistic_regression(_ngram_presence(text), dense, is_real, part > 0)
    interval = wilson_interval(int(correct.sum()), len(correct))
    return ClassifierTest(float(correct.mean()), interval, len(correct))


def _assign_parts(size: int, tested: int) -> Ints:
    return np.where(np.arange(size) < tested, 0, 1 + np.arange(size) % FOLDS)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a binomial proportion (Wilson 1927)."""
    rate, z2 = successes / trials, Z95**2 / trials
    centre = (rate + z2 / 2) / (1 + z2)
    half = Z95 / (1 + z2) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _standardised(values: Floats | Ints) -> Floats:
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)


def _log_odds(text: EncodedText, is_real: Bools, part: Ints) -> Floats:
    """Log-odds of each sentence under the models of other parts, as signed root and scaled; (N, 2).

    The root limits the weight of extreme log-odds, which are overconfident.
    """
    word_ids = np.unique(text.take(np.flatnonzero(part > 0)).ids)
    odds = np.zeros(len(text))
    for fold in range(1, FOLDS + 1):
        others = np.flatnonzero(part != fold)
        scored = text.take(others)
        nll = [
            kneser_ney.fit(text.take(np.flatnonzero((part == fold) & side)), word_ids, LM_ORDER).nll(scored)
            for side in (is_real, ~is_real)
        ]
        weight = np.where(part[others] == 0, 1 / FOLDS, 1 / (FOLDS - 1))
        odds[others] += weight * (nll[1] - nll[0])
    return np.column_stack([np.sign(odds) * np.sqrt(np.abs(odds)), odds / 10])


def _ngram_presence(text: EncodedText) -> SparseMatrix:
    """Presence of each n-gram in each sentence, rows normalised to length 1."""
    counts = ngram_matrix(text, ORDER)
    return replace(counts, values=np.ones(len(counts.values))).unit_rows()


def _logistic_regression(sparse: SparseMatrix, dense: Floats, is_real: Bools, trained: Bools) -> Bools:
    """Fit with an L2 penalty of 1/2; return whether each test sentence is classified correctly."""
    train = _Features(sparse.take(trained), dense[trained])
    test = _Features(sparse.take(~trained), dense[~trained])
    weights = _newton(train, torch.from_numpy(is_real[trained]).double())
    return (test.times(weights).numpy() > 0) == is_real[~trained]


class _Features:
    """A feature matrix of sparse and dense columns side by side, (R, C + D)."""

    def __init__(self, sparse: SparseMatrix, dense: Floats) -> None:
        self.sparse, self.dense = sparse, torch.from_numpy(dense)
        self.sparse_transposed = sparse.transposed()

    def times(self, weights: Tensor) -> Tensor:
        """Multiply the matrix by a vector; (C + D,) → (R,)."""
        width = self.sparse.shape[1]
        return (self.sparse @ weights[:width, None]).squeeze(1) + self.dense @ weights[width:]

    def transposed_times(self, rows: Tensor) -> Tensor:
        """Multiply the transposed matrix by a vector; (R,) → (C + D,)."""
        return torch.cat([(self.sparse_transposed @ rows[:, None]).squeeze(1), rows @ self.dense])


def _newton(features: _Features, labels: Tensor) -> Tensor:
    """Minimise the penalised loss: Newton steps by conjugate gradients, each halved until the loss falls."""
    weights = labels.new_zeros(features.sparse.shape[1] + features.dense.shape[1])
    logits = labels.new_zeros(len(labels))

    def loss(logits: Tensor, weights: Tensor) -> float:
        cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return float(cross_entropy + weights.square().sum() / 2)

    for _ in range(NEWTON_STEPS):
        probs = logits.sigmoid()
        hessian = partial(_hessian_times, features, probs * (1 - probs))
        step = _conjugate_gradients(hessian, features.transposed_times(labels - probs) - weights)
        logit_step = features.times(step)
        before, size = loss(logits, weights), 1.0
        while loss(logits + size * logit_step, weights + size * step) > before and size > 1e-3:
            size /= 2
        weights, logits = weights + size * step, logits + size * logit_step
    return weights


def _hessian_times(features: _Features, variance: Tensor, direction: Tensor) -> Tensor:
    """Multiply the Hessian of the loss by a vector; (C + D,) → (C + D,)."""
    return features.transposed_times(variance * features.times(direction)) + direction


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Solve a positive definite system approximately, starting from 0; (C,) → (C,)."""
    solution, residual = torch.zeros_like(target), target
    direction, square = residual, float(residual @ residual)
    first = square
    for _ in range(CG_STEPS):
        if square <= CG_TOLERANCE**2 * first:
            break
        product = matrix(direction)
        size = square / float(direction @ product)
        solution, residual = solution + size * direction, residual - size * product
        square, last = float(residual @ residual), square
        direction = residual + square / last * direction
    return solution
