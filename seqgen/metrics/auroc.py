"""Metrics of anomaly scores: area under the ROC curve with its interval (DeLong et al. 1988), average
precision, and precision, recall and F1 at a threshold."""

from dataclasses import dataclass

import numpy as np

from seqgen.core.errors import UserError
from seqgen.ngrams.ngrams import Floats, Ints

NORMAL95 = 1.959964
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True)
class Auroc:
    """The probability that an anomalous item has a higher score than a normal one; a tie counts one half."""

    value: float
    """0.5 is chance, 1 is perfect, below 0.5 the scores rank the wrong way round"""
    interval: tuple[float, float]
    """95 %"""


def auroc(normal: Floats, anomalous: Floats, pairs: Ints | None = None) -> Auroc:
    """Measure how well scores separate anomalous items from normal ones; (N,), (M,), higher is anomalous.

    Each item has a placement: the fraction of the other group that it is ranked correctly against, ties one
    half. The AUROC is the mean placement of either group, and the variance of the placements gives its
    standard error (DeLong, DeLong and Clarke-Pearson 1988).

    Without `pairs` the two groups are independent. With `pairs`, (M,), the anomalous item m is a corrupted
    copy of the normal item `pairs[m]`: their scores correlate, so the two form one cluster (Obuchowski 1997).

    Raises:
        UserError: a group is empty.
    """
    if not len(normal) or not len(anomalous):
        raise UserError(
            f"an AUROC needs normal and anomalous items; there are {len(normal)} and {len(anomalous)}"
        )
    of_anomalous = _fraction_below(anomalous, normal)
    of_normal = 1 - _fraction_below(normal, anomalous)
    value = float(of_anomalous.mean())
    if pairs is None:
        variance = _variance_of_mean(of_anomalous) + _variance_of_mean(of_normal)
    else:
        clusters = (of_normal - value) / len(normal)
        np.add.at(clusters, pairs, (of_anomalous - value) / len(anomalous))
        variance = float((clusters**2).sum() * len(clusters) / max(len(clusters) - 1, 1))
    half = NORMAL95 * float(np.sqrt(variance))
    return Auroc(value, (max(value - half, 0.0), min(value + half, 1.0)))


def average_precision(normal: Floats, anomalous: Floats) -> float:
    """Return Σ (Rₙ - Rₙ₋₁) Pₙ over the thresholds n, from the highest score down; (N,), (M,) → in [0, 1].

    Pₙ and Rₙ are precision and recall of what is at or above a threshold. By chance it is M / (N + M).
    """
    thresholds = np.unique(np.concatenate([normal, anomalous]))[::-1]
    found, wrong = (_at_least(scores, thresholds) for scores in (anomalous, normal))
    recalled = np.diff(found, prepend=0) / len(anomalous)
    return float((recalled * found / (found + wrong)).sum())


def _at_least(scores: Floats, thresholds: Floats) -> Ints:
    """Count the scores at or above each threshold; (N,), (T,) → (T,)."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, "left")


@dataclass(frozen=True)
class AtThreshold:
    """What is found where every score above a threshold is called anomalous."""

    precision: float
    """fraction of what is called anomalous that is; 0 where nothing is"""
    recall: float
    """fraction of anomalous items that are called so"""
    f1: float
    """harmonic mean of both"""
    false_positive_rate: float
    """fraction of normal items that are called anomalous"""


def at_threshold(normal: Floats, anomalous: Floats, threshold: float) -> AtThreshold:
    """Measure the calls of scores above a threshold; (N,), (M,)."""
    found, wrong = int((anomalous > threshold).sum()), int((normal > threshold).sum())
    precision, recall = found / max(found + wrong, 1), found / len(anomalous)
    f1 = 2 * precision * recall / (precision + recall) if found else 0.0
    return AtThreshold(precision, recall, f1, wrong / len(normal))


def _variance_of_mean(placements: Floats) -> float:
    return float(placements.var(ddof=1)) / len(placements) if len(placements) > 1 else 0.0


def _fraction_below(values: Floats, others: Floats) -> Floats:
    """Fraction of `others` below each value, ties counting one half; (P,), (N,) → (P,)."""
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below + up_to) / (2 * len(ordered))
