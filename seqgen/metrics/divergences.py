"""Divergences of two distributions from exact log-densities of draws of each, with standard errors.

p is the true distribution, q a model. The N draws of p and the M draws of q are independent sentences; every
density is that of the whole sentence, in nats.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    error: float

    def over(self, units: float) -> "Estimate":
        """Return it for a part of a sentence, as a token of so many."""
        return Estimate(self.mean / units, self.error / units)


@dataclass(frozen=True)
class Densities:
    """Exact log-densities, float64: of draws of p under p and q (N,), of draws of q under both (M,)."""

    p_of_p: Tensor
    q_of_p: Tensor
    p_of_q: Tensor
    q_of_q: Tensor


def mean(values: Tensor) -> Estimate:
    """Return the mean of independent values (N,); infinite, without error, where one of them is."""
    values = values.double()
    if not values.isfinite().all():
        return Estimate(float(values.mean()), math.nan)
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def forward_kl(d: Densities) -> Estimate:
    """KL(p ‖ q) = E_p[log p - log q]; infinite where q misses a draw of p."""
    return mean(d.p_of_p - d.q_of_p)


def reverse_kl(d: Densities) -> Estimate:
    """KL(q ‖ p) = E_q[log q - log p]; infinite where q draws what p cannot."""
    return mean(d.q_of_q - d.p_of_q)


def jeffreys(d: Densities) -> Estimate:
    """KL(p ‖ q) + KL(q ‖ p)."""
    one, other = forward_kl(d), reverse_kl(d)
    return Estimate(one.mean + other.mean, math.hypot(one.error, other.error))


def jensen_shannon(d: Densities) -> Estimate:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = ½ (p + q); between 0 and log 2, finite whatever q misses."""
    of_p = mean(_log_ratio_to_mixture(d.p_of_p, d.q_of_p))
    of_q = mean(_log_ratio_to_mixture(d.q_of_q, d.p_of_q))
    return Estimate((of_p.mean + of_q.mean) / 2, math.hypot(of_p.error, of_q.error) / 2)


def _log_ratio_to_mixture(own: Tensor, other: Tensor) -> Tensor:
    """log(own / ½ (own + other)) from log-densities, of which `other` may be -inf; (N,) → (N,)."""
    return math.log(2) - torch.nn.functional.softplus((other - own).double(), threshold=50)
