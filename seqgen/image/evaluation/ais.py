"""Log-likelihood of a decoder by annealed importance sampling (AIS) with Hamiltonian Monte Carlo (HMC).

Neal 2001 (Annealed importance sampling, Statistics and Computing 11); for decoders Wu et al. 2017 (On the
quantitative analysis of decoder-based generative models, arXiv:1611.04273). A chain starts at a draw of a
Gaussian and moves to the posterior through the densities

    f_β(z) = N(z; mean, var)^(1 - β) · (p(z) p(x | z))^β,  β from 0 to 1.

What differs from Wu et al.: the Gaussian may be an approximate posterior instead of the prior, which needs
fewer densities; chains move in its coordinates u = (z - mean) / std, in which log f_β(u) = log N(u; 0, I) +
β g(u) with g(u) = log p(x, z) + log |dz / du| - log N(u; 0, I); and the sizes of leapfrog steps are tuned on
separate chains, so that the chains of the estimate stay unbiased: E[weight] = p(x).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.core.device import widened
from seqgen.functional import gaussian

LogLikelihood = Callable[[Tensor], Tensor]
"""log p(x | z), latents (S, B, Z) → (S, B): S latents of each of B images."""

TARGET_ACCEPTANCE = 0.65
"""Fraction of accepted proposals that the step sizes are tuned to (Wu et al. 2017)."""
INITIAL_STEP_SIZE = 0.2
"""Leapfrog step before tuning, in standard deviations of the Gaussian."""
STEP_SIZE_FACTOR = 1.05
"""Factor by which tuning changes the step size at each temperature."""
TUNING_CHAINS = 4
"""Chains of each image for the tuning of step sizes."""


@dataclass(frozen=True)
class Estimate:
    """log p(x) of B images, and how reliable it is."""

    log_likelihood: Tensor
    """(B,), nats; a lower bound in expectation, as the log of any unbiased estimate"""
    effective_chains: Tensor
    """(B,): effective sample size, (Σ w)² / Σ w², between 1 and the number of chains"""
    acceptance_rate: float
    """fraction of accepted proposals"""


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

    There are `temperatures` steps from β = 0 to 1, each with one HMC proposal of `leapfrogs` steps. With zero
    means and log-variances the chains start from the prior.
    """
    log_ratio = _LogRatio(log_p, mean, log_var)
    betas = schedule(temperatures)
    tuned = _anneal(log_ratio, betas, None, chains=TUNING_CHAINS, leapfrogs=leapfrogs, rng=rng)
    result = _anneal(log_ratio, betas, tuned.step_sizes, chains=chains, leapfrogs=leapfrogs, rng=rng)
    estimate = gaussian.importance_log_likelihood(result.log_weights)
    weights = torch.softmax(result.log_weights, dim=0)
    return Estimate(estimate, 1 / weights.square().sum(dim=0), result.acceptance_rate)


def schedule(temperatures: int, sharpness: float = 4.0) -> list[float]:
    """Return β_0 = 0 … β_T = 1, close together at both ends: a rescaled sigmoid of ±`sharpness`.

    That of Wu et al. 2017, §4.1 (Grosse et al. 2015).
    """
    raw = [1 / (1 + math.exp(-sharpness * (2 * t / temperatures - 1))) for t in range(temperatures + 1)]
    return [(beta - raw[0]) / (raw[-1] - raw[0]) for beta in raw]


class _Position(NamedTuple):
    """Where S chains of each of B images are."""

    u: Tensor
    """(S, B, Z)"""
    log_ratio: Tensor
    """g(u), (S, B)"""
    gradient: Tensor
    """∂g/∂u, (S, B, Z)"""


@dataclass(frozen=True)
class _LogRatio:
    """g(u) = log p(x, z) + log |dz / du| - log N(u; 0, I) at z = mean + std · u."""

    log_p: LogLikelihood
    mean: Tensor
    log_var: Tensor

    def at(self, u: Tensor) -> _Position:
        """Return g and its gradient at u, (S, B, Z)."""
        with torch.enable_grad():
            u_leaf = u.detach().requires_grad_()
            latents = self.mean + (0.5 * self.log_var).exp() * u_leaf
            joint = self.log_p(latents) + gaussian.prior_log_density(latents)
            log_ratio = joint + 0.5 * self.log_var.sum(dim=-1) - gaussian.prior_log_density(u_leaf)
            (gradient,) = torch.autograd.grad(log_ratio.sum(), u_leaf)
        return _Position(u, log_ratio.detach(), gradient)


@dataclass(frozen=True)
class _Annealed:
    """What a run of chains over all temperatures returns."""

    log_weights: Tensor
    """(S, B), float64"""
    step_sizes: Tensor
    """(T, B): the leapfrog step at each temperature"""
    acceptance_rate: float


def _anneal(
    log_ratio: _LogRatio,
    betas: Sequence[float],
    step_sizes: Tensor | None,
    *,
    chains: int,
    leapfrogs: int,
    rng: torch.Generator | None,
) -> _Annealed:
    """Run chains over all temperatures, with given step sizes, (T, B), or with tuning."""
    mean = log_ratio.mean
    position = log_ratio.at(_normal(mean, (chains, *mean.shape), rng))
    log_weights = torch.zeros_like(widened(position.log_ratio))
    step_size = torch.full_like(mean[:, 0], INITIAL_STEP_SIZE)
    used, rates = [], []
    for index, (before, beta) in enumerate(itertools.pairwise(betas)):
        log_weights += (beta - before) * position.log_ratio
        if step_sizes is not None:
            step_size = step_sizes[index]
        used.append(step_size)
        if beta == betas[-1]:
            break  # the weights do not depend on a move after the last temperature
        position, accepted = _hmc_step(log_ratio, position, beta, step_size, leapfrogs, rng)
        rate = accepted.float().mean(dim=0)
        rates.append(rate.mean())
        is_high = rate > TARGET_ACCEPTANCE
        step_size = torch.where(is_high, step_size * STEP_SIZE_FACTOR, step_size / STEP_SIZE_FACTOR)
    acceptance_rate = float(torch.stack(rates).mean()) if rates else 1.0
    return _Annealed(log_weights, torch.stack(used), acceptance_rate)


def _hmc_step(
    log_ratio: _LogRatio,
    start: _Position,
    beta: float,
    step_size: Tensor,
    leapfrogs: int,
    rng: torch.Generator | None,
) -> tuple[_Position, Tensor]:
    """Do one HMC step under log N(u; 0, I) + β g(u) (Neal 2011); step_size (B,).

    Return the new position, and which proposals, (S, B), were accepted.
    """
    size = step_size[:, None]
    momentum = _normal(start.u, start.u.shape, rng)
    energy = _hamiltonian(start, momentum, beta)
    end = start
    momentum = momentum + 0.5 * size * (beta * end.gradient - end.u)
    for leap in range(leapfrogs):
        end = log_ratio.at(end.u + size * momentum)
        fraction = 1.0 if leap + 1 < leapfrogs else 0.5  # the last step of the momentum is a half one
        momentum = momentum + fraction * size * (beta * end.gradient - end.u)
    log_acceptance = energy - _hamiltonian(end, momentum, beta)
    uniform = torch.rand(log_acceptance.shape, device=start.u.device, dtype=start.u.dtype, generator=rng)
    accepted = uniform.log() < log_acceptance  # false where the proposal has diverged to NaN
    position = _Position(
        torch.where(accepted[..., None], end.u, start.u),
        torch.where(accepted, end.log_ratio, start.log_ratio),
        torch.where(accepted[..., None], end.gradient, start.gradient),
    )
    return position, accepted


def _hamiltonian(position: _Position, momentum: Tensor, beta: float) -> Tensor:
    """Return the potential plus the kinetic energy; (S, B)."""
    squares = position.u.square() + momentum.square()
    return 0.5 * squares.sum(dim=-1) - beta * position.log_ratio


def _normal(like: Tensor, shape: Sequence[int], rng: torch.Generator | None) -> Tensor:
    return torch.randn(tuple(shape), device=like.device, dtype=like.dtype, generator=rng)
