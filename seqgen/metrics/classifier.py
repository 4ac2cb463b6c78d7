"""How well a fresh classifier tells samples from held-out real text: 0.5 is chance, and the best there is.

A classifier two-sample test (Lopez-Paz and Oquab 2017). Logistic regression on which 1- to 3-grams a sentence
holds, its length, and the log-odds of two Kneser–Ney models, one fitted to each side: the former sees words
that give samples away, the latter sequences that do. The models score only sentences that they were not
fitted to, and the accuracy is of sentences that nothing was fitted to. A linear classifier bounds what is to
be told apart from below: 0.5 does not prove that the two are the same.
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
from seqgen.ngrams.ngrams import Bools, Coded, Floats, Ints, join
from seqgen.ngrams.sparse_ngrams import Sparse, holdings

CHANCE = 0.5
LARGEST, SMALLEST = 10_000, 20
"""Sentences of each side: at most, and at least."""
TEST, FOLDS = 0.3, 2
"""Share of sentences that measures; parts of the rest that score each other's sentences."""
ORDER, LM_ORDER = 3, 4
NEWTON_STEPS, CG_STEPS, CG_TOLERANCE = 8, 15, 0.1
Z95 = 1.959964


@dataclass(frozen=True)
class Verdict:
    """Accuracy on balanced, unseen sentences."""

    accuracy: float
    interval: tuple[float, float]
    """95 %, Wilson's, of the binomial of `tested` sentences"""
    tested: int


def tell_apart(samples: Coded, real: Coded, *, seed: int = 0) -> Verdict | None:
    """Train on 70 % of as many samples as real sentences, measure on the rest; None for fewer than 20 each.

    At most 10,000 of each are used, drawn by `seed`. The texts are coded by one vocabulary.
    """
    size = min(len(samples), len(real), LARGEST)
    if size < SMALLEST:
        return None
    rng = np.random.default_rng(seed)
    text = join([side.take(rng.permutation(len(side))[:size]) for side in (samples, real)])
    is_real = np.repeat([False, True], size)
    # Both sides are split alike, so that each part is balanced. Part 0 measures, the others train.
    tested = max(1, int(TEST * size))
    part = np.concatenate([rng.permutation(_parts(size, tested)) for _ in range(2)])
    dense = np.column_stack([_log_odds(text, is_real, part), _scaled(text.lengths), np.ones(2 * size)])
    right = _logistic(_which(text), dense, is_real, part > 0)
    return Verdict(float(right.mean()), wilson(int(right.sum()), len(right)), len(right))


def _parts(size: int, tested: int) -> Ints:
    return np.where(np.arange(size) < tested, 0, 1 + np.arange(size) % FOLDS)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    share, z2 = successes / trials, Z95**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = Z95 / (1 + z2) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _scaled(values: Floats | Ints) -> Floats:
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)


def _log_odds(text: Coded, is_real: Bools, part: Ints) -> Floats:
    """Log-odds of each sentence under models of other parts, and their root, for they overshoot; (N, 2)."""
    known = np.unique(text.take(np.flatnonzero(part > 0)).codes)
    odds = np.zeros(len(text))
    for fold in range(1, FOLDS + 1):
        others = np.flatnonzero(part != fold)
        scored = text.take(others)
        nats = [
            kneser_ney.fit(text.take(np.flatnonzero((part == fold) & side)), known, LM_ORDER).nats(scored)
            for side in (is_real, ~is_real)
        ]
        share = np.where(part[others] == 0, 1 / FOLDS, 1 / (FOLDS - 1))
        odds[others] += share * (nats[1] - nats[0])
    return np.column_stack([np.sign(odds) * np.sqrt(np.abs(odds)), odds / 10])


def _which(text: Coded) -> Sparse:
    """Which n-grams each sentence holds, every row of length 1."""
    held = holdings(text, ORDER)
    return replace(held, values=np.ones(len(held.values))).unit_rows()


def _logistic(holds: Sparse, dense: Floats, is_real: Bools, trained: Bools) -> Bools:
    """Fit logistic regression with an L2 penalty of 1/2; → whether each other sentence is told right."""
    train, test = (
        _Features(holds.take(trained), dense[trained]),
        _Features(holds.take(~trained), dense[~trained]),
    )
    weights = _newton(train, torch.from_numpy(is_real[trained]).double())
    return (test.times(weights).numpy() > 0) == is_real[~trained]


class _Features:
    """Sparse and dense columns beside each other, (R, C + D)."""

    def __init__(self, sparse: Sparse, dense: Floats) -> None:
        self.sparse, self.dense = sparse, torch.from_numpy(dense)
        self.across = sparse.transposed()

    def times(self, weights: Tensor) -> Tensor:
        """(C + D,) → (R,)."""
        width = self.sparse.shape[1]
        return (self.sparse @ weights[:width, None]).squeeze(1) + self.dense @ weights[width:]

    def against(self, rows: Tensor) -> Tensor:
        """Multiply from the left; (R,) → (C + D,)."""
        return torch.cat([(self.across @ rows[:, None]).squeeze(1), rows @ self.dense])


def _newton(features: _Features, labels: Tensor) -> Tensor:
    """Minimise the penalised loss by Newton steps, each of conjugate gradients, halved until it descends."""
    weights = labels.new_zeros(features.sparse.shape[1] + features.dense.shape[1])
    logits = labels.new_zeros(len(labels))

    def loss(logits: Tensor, weights: Tensor) -> float:
        misfit = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return float(misfit + weights.square().sum() / 2)

    for _ in range(NEWTON_STEPS):
        probs = logits.sigmoid()
        curvature = partial(_curvature, features, probs * (1 - probs))
        step = _conjugate_gradients(curvature, features.against(labels - probs) - weights)
        along = features.times(step)
        before, size = loss(logits, weights), 1.0
        while loss(logits + size * along, weights + size * step) > before and size > 1e-3:
            size /= 2
        weights, logits = weights + size * step, logits + size * along
    return weights


def _curvature(features: _Features, variance: Tensor, direction: Tensor) -> Tensor:
    """Multiply by the loss's second derivatives; (C + D,) → (C + D,)."""
    return features.against(variance * features.times(direction)) + direction


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Solve a positive definite system roughly, from 0."""
    solution, residual = torch.zeros_like(target), target
    direction, square = residual, float(residual @ residual)
    first = square
    for _ in range(CG_STEPS):
        if square <= CG_TOLERANCE**2 * first:
            break
        image = matrix(direction)
        size = square / float(direction @ image)
        solution, residual = solution + size * direction, residual - size * image
        square, last = float(residual @ residual), square
        direction = residual + square / last * direction
    return solution
