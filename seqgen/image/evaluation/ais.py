"""Log-likelihood of a decoder by annealed importance sampling with Hamiltonian Monte Carlo.

Neal 2001 (Annealed importance sampling, Statistics and Computing 11); for decoders Wu et al. 2017 (On the
quantitative analysis of decoder-based generative models, arXiv:1611.04273). A chain starts at a draw of a
Gaussian and goes to the posterior over densities

    f_β(z) = N(z; mean, var)^(1 - β) · (p(z) p(x | z))^β,  β from 0 to 1.

What differs from Wu et al.: the Gaussian may be a guess of the posterior instead of the prior, which needs
fewer densities; chains move in its coordinates u = (z - mean) / deviation; and the sizes of leapfrog steps
are tuned on chains of their own, so that those that count stay unbiased: E[weight] = p(x).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.functional import gaussian

LogLikelihood = Callable[[Tensor], Tensor]
"""log p(x | z), codes (S, B, Z) → (S, B): S codes of each of B images."""

TARGET = 0.65
"""Share of proposals accepted that the sizes of steps are tuned to (Wu et al. 2017)."""
FIRST_STEP, GAIN = 0.2, 1.05
"""Leapfrog step before tuning, in deviations of the Gaussian; what one temperature may change it by."""
PILOTS = 4
"""Chains of each image that the steps are tuned on."""


@dataclass(frozen=True)
class Estimate:
    """log p(x) of B images, and how far to trust it."""

    log_likelihood: Tensor
    """(B,), nats; a lower bound on average, as any log of an unbiased estimate"""
    effective: Tensor
    """(B,): chains that carry the weight, (Σ w)² / Σ w², between 1 and the number of chains"""
    acceptance: float
    """share of accepted proposals"""


def log_likelihood(
    log_p: LogLikelihood,
    mean: Tensor,
    log_var: Tensor,
    *,
    chains: int = 16,
    temperatures: int = 1000,
    leapfrogs: int = 10,
    rng: torch.Generator | None = None,
) -> Estimate:
    """Estimate log p(x) of images under the prior N(0, I) and a decoder, from N(mean, var), (B, Z) each.

    `temperatures` steps from β = 0 to 1, of each one Hamiltonian proposal of `leapfrogs` steps. Zero means
    and log-variances start from the prior.
    """
    gap = _Gap(log_p, mean, log_var)
    betas = schedule(temperatures)
    tuned = _anneal(gap, betas, None, chains=PILOTS, leapfrogs=leapfrogs, rng=rng)
    found = _anneal(gap, betas, tuned.steps, chains=chains, leapfrogs=leapfrogs, rng=rng)
    estimate = gaussian.importance_log_likelihood(found.log_weights)
    shares = torch.softmax(found.log_weights, dim=0)
    return Estimate(estimate, 1 / shares.square().sum(dim=0), found.acceptance)


def schedule(temperatures: int, sharpness: float = 4.0) -> list[float]:
    """Return β_0 = 0 … β_T = 1, close together at both ends: a logistic of ±`sharpness` made to fit.

    That of Wu et al. 2017, §4.1 (Grosse et al. 2015).
    """
    raw = [1 / (1 + math.exp(-sharpness * (2 * t / temperatures - 1))) for t in range(temperatures + 1)]
    return [(beta - raw[0]) / (raw[-1] - raw[0]) for beta in raw]


@dataclass(frozen=True)
class _Gap:
    """What a chain must climb: g(u) = log p(x, z) + log |dz / du| - log N(u; 0, I)."""

    log_p: LogLikelihood
    mean: Tensor
    log_var: Tensor

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return g, (S, B), and its gradient, (S, B, Z), at u (S, B, Z)."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            codes = self.mean + (0.5 * self.log_var).exp() * u
            joint = self.log_p(codes) + gaussian.prior_log_density(codes)
            gap = joint + 0.5 * self.log_var.sum(dim=-1) - gaussian.prior_log_density(u)
            (slope,) = torch.autograd.grad(gap.sum(), u)
        return gap.detach(), slope


@dataclass(frozen=True)
class _Chains:
    log_weights: Tensor
    """(S, B), float64"""
    steps: Tensor
    """(T, B): the leapfrog steps that were taken"""
    acceptance: float


def _anneal(
    gap: _Gap,
    betas: Sequence[float],
    steps: Tensor | None,
    *,
    chains: int,
    leapfrogs: int,
    rng: torch.Generator | None,
) -> _Chains:
    """Run chains over all temperatures, with the steps given, (T, B), or tuned on the way."""
    shape = chains, *gap.mean.shape
    u = _noise(gap.mean, shape, rng)
    height, slope = gap(u)
    log_weights = torch.zeros_like(height, dtype=torch.float64)
    step = torch.full_like(gap.mean[:, 0], FIRST_STEP)
    used, rates = [], []
    for at, (before, beta) in enumerate(itertools.pairwise(betas)):
        log_weights += (beta - before) * height
        if steps is not None:
            step = steps[at]
        used.append(step)
        if beta == betas[-1]:
            break  # weights are complete before the last move
        u, height, slope, accepted = _move(gap, u, height, slope, beta, step, leapfrogs, rng)
        rate = accepted.float().mean(dim=0)
        rates.append(rate.mean())
        step = torch.where(rate > TARGET, step * GAIN, step / GAIN)
    acceptance = float(torch.stack(rates).mean()) if rates else 1.0
    return _Chains(log_weights, torch.stack(used), acceptance)


def _move(
    gap: _Gap,
    u: Tensor,
    height: Tensor,
    slope: Tensor,
    beta: float,
    step: Tensor,
    leapfrogs: int,
    rng: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Propose by leapfrog steps, (B,), under log N(u; 0, I) + β g(u), and accept or stay (Neal 2011).

    Return the codes, their height and slope, and which of them, (S, B), were accepted.
    """
    size = step[:, None]
    push = _noise(u, u.shape, rng)
    start = _energy(u, height, push, beta)
    position, new_height, new_slope = u, height, slope
    push = push + 0.5 * size * (beta * new_slope - position)
    for leap in range(leapfrogs):
        position = position + size * push
        new_height, new_slope = gap(position)
        whole = 1.0 if leap + 1 < leapfrogs else 0.5
        push = push + whole * size * (beta * new_slope - position)
    gain = start - _energy(position, new_height, push, beta)
    uniform = torch.rand(gain.shape, device=u.device, dtype=u.dtype, generator=rng)
    accepted = uniform.log() < gain  # a proposal that has run off to NaN is refused
    taken = accepted[..., None]
    return (
        torch.where(taken, position, u),
        torch.where(accepted, new_height, height),
        torch.where(taken, new_slope, slope),
        accepted,
    )


def _energy(u: Tensor, height: Tensor, push: Tensor, beta: float) -> Tensor:
    return 0.5 * (u.square() + push.square()).sum(dim=-1) - beta * height


def _noise(like: Tensor, shape: Sequence[int], rng: torch.Generator | None) -> Tensor:
    return torch.randn(tuple(shape), device=like.device, dtype=like.dtype, generator=rng)
