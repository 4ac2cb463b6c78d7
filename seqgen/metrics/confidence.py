"""95 % intervals: the bootstrap for means over sentences, the jackknife for metrics of a whole set.

A bootstrap resample contains duplicates, which lower the diversity that self-BLEU, distinct-n and the
fraction of unique sentences measure. The metrics of a set are therefore recomputed without each of 20 random
groups of sentences (delete-a-group jackknife, Kott 2001):

    variance = (J - 1) / J · sum_j (x_j - mean x)²,  interval = x ± t(J - 1) · √variance

The interval is symmetric and may exceed the range of the metric, where an evaluation cuts it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seqgen.ngrams.ngrams import Floats, Ints

RESAMPLES = 1000
GROUPS = 20
T95 = 2.093024
"""The 97.5 % point of Student's t with 19 degrees of freedom."""
CHUNK, CACHED = 2_000_000, 20_000_000
"""Draws at a time, and the most draws that are cached for the next score."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Bootstrap:
    """R resamples of n sentences with replacement, the same ones for all scores."""

    n: int
    seed: int
    resamples: int = RESAMPLES

    def means(self, scores: Mapping[str, Floats]) -> dict[str, Interval]:
        """The interval of the mean of each score, (N,)."""
        sums = self.sums(np.stack(list(scores.values()), axis=1)) / self.n
        return {name: percentile_interval(column) for name, column in zip(scores, sums.T, strict=True)}

    def ratio(self, numerators: Floats, denominators: Floats) -> Interval:
        """The interval of a ratio of two sums, such as nats over tokens; (N,), (N,)."""
        sums = self.sums(np.stack([numerators, denominators], axis=1))
        return percentile_interval(sums[:, 0] / sums[:, 1])

    def sums(self, columns: Floats) -> Floats:
        """Sum K columns over every resample; (N, K) → (R, K)."""
        values = torch.from_numpy(columns).float()
        is_cached = self.n * self.resamples <= CACHED
        parts = [
            weights @ values for weights in (self._cached_weights if is_cached else self._resample_counts())
        ]
        return torch.cat(parts).double().numpy()

    @cached_property
    def _cached_weights(self) -> list[Tensor]:
        return list(self._resample_counts())

    def _resample_counts(self) -> Iterator[Tensor]:
        """Yield counts of each sentence in each resample, some resamples at a time; (r, N)."""
        rng = np.random.default_rng(self.seed)
        step = max(1, CHUNK // max(1, self.n))
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            drawn = rng.integers(self.n, size=(rows, self.n)) + self.n * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * self.n)
            yield torch.from_numpy(counts.reshape(rows, self.n)).float()


def percentile_interval(values: Floats) -> Interval:
    """The 2.5 and 97.5 % points."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def jackknife_groups(n: int, seed: int) -> Ints | None:
    """Assign n sentences to 20 random groups of nearly equal size; None where a group would have only one."""
    if n < 2 * GROUPS:
        return None
    return np.random.default_rng(seed).permutation(n) % GROUPS


def jackknife_interval(values: Floats) -> Interval:
    """The interval of a metric from its value and its values without each group; (1 + J,)."""
    value, without = values[0], values[1:]
    variance = (len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()
    half = T95 * float(np.sqrt(variance))
    return float(value) - half, float(value) + half
