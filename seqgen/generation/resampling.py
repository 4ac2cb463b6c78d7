"""A generator reweighted by an energy: p(x) = g(x) · exp f(x) / Z (Deng et al. 2020, arXiv:2004.11714).

Z = E_g exp f, so everything is an expectation over samples of g. What p gains on g in the likelihood of data,
KL(data‖g) - KL(data‖p) = E_data f - log E_g exp f, is the Donsker–Varadhan bound at f (Donsker & Varadhan
1983). All energies here are f, in nats; sums are float64.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def log_normaliser(energies: Tensor) -> Tensor:
    """Return log Z = log E_g exp f by energies of samples of g, (N,); scalar, float64."""
    return energies.double().logsumexp(dim=0) - math.log(len(energies))


def effective_sample_size(energies: Tensor) -> float:
    """Return the fraction (Σ w)² / (N Σ w²) of samples that count, w = exp f (Kong 1992); in (0, 1]."""
    log_weights = energies.double()
    logs = 2 * log_weights.logsumexp(dim=0) - (2 * log_weights).logsumexp(dim=0)
    return float((logs - math.log(len(energies))).exp())


class Gain(NamedTuple):
    """What the reweighted generator gains in the likelihood of data, nats a sentence."""

    nats: float
    error: float
    """Its standard error, over real sentences and samples (delta method)."""
    effective: float
    """Effective sample size, as a fraction of the samples."""


def gain(on_real: Tensor, on_fake: Tensor) -> Gain:
    """Return E_data f - log E_g exp f by energies of real sentences (R,) and of samples of g (F,)."""
    on_real, on_fake = on_real.double(), on_fake.double()
    log_z = log_normaliser(on_fake)
    weights = (on_fake - log_z).exp()
    variance = on_real.var() / len(on_real) + weights.var() / len(on_fake)
    nats = float(on_real.mean() - log_z)
    return Gain(nats, math.sqrt(float(variance)), effective_sample_size(on_fake))


def choose(energies: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
    """Choose one of each row's K candidates with probability softmax f; (N, K) → indices (N,).

    This is sampling–importance–resampling: as K grows the chosen follow p, at K = 1 they follow g.
    """
    uniform = torch.rand(len(energies), 1, device=energies.device, generator=rng)
    cdf = torch.softmax(energies.float(), dim=1).cumsum(dim=1)
    places = torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True)
    return places[:, 0].clamp(max=energies.shape[1] - 1)


def log_chosen(energies: Tensor, candidates: int, pool: Tensor) -> Tensor:
    """Return log of the density, relative to g, of what `choose` draws from K candidates; (N,), float64.

    A sentence of energy f is chosen with density g(x) · K · E[exp f / (exp f + S)], S the sum of exp of the
    K - 1 other candidates' energies. The expectation is taken over groups of the pool (F,), energies of
    independent samples of g in a random order.

    Raises:
        ValueError: the pool has fewer than K - 1 energies.
    """
    if candidates == 1:
        return torch.zeros_like(energies, dtype=torch.float64)
    others = candidates - 1
    if len(pool) < others:
        raise ValueError(
            f"{candidates} candidates need a pool of at least {others} energies, not {len(pool)}"
        )
    groups = pool.double()[: len(pool) // others * others].view(-1, others).logsumexp(dim=1)  # (G,)
    own = energies.double()
    found = [
        (part[:, None] - torch.logaddexp(part[:, None], groups)).logsumexp(dim=1) for part in own.split(1024)
    ]
    return torch.cat(found) - math.log(len(groups)) + math.log(candidates)


def calibrate(on_real: Tensor, on_fake: Tensor) -> tuple[float, float]:
    """Return s ≥ 0 and b at which the binary cross entropy of s · f + b is least (Platt 1999); (R,), (F,).

    An energy that was fitted to its training sentences is too sure of itself on others: s is below 1. The
    offset b changes no density, as log Z takes it up; without it s would have to make up for it. Of energies
    that are all alike s is 1; where real sentences have the lower ones both are 0.
    """
    logits = torch.cat((on_real, on_fake)).double()
    if float(logits.std()) < 1e-9:
        return 1.0, -float(logits.mean())
    signs = torch.cat((torch.ones_like(on_real), -torch.ones_like(on_fake))).double()
    weights = torch.cat(
        (torch.full_like(on_real, 0.5 / len(on_real)), torch.full_like(on_fake, 0.5 / len(on_fake)))
    )
    inputs, weights = torch.stack((logits, torch.ones_like(logits)), dim=1), weights.double()
    found = torch.tensor([1.0, 0.0], dtype=torch.float64, device=logits.device)

    def loss(parameters: Tensor) -> float:
        return float((weights * torch.nn.functional.softplus(-signs * (inputs @ parameters))).sum())

    for _ in range(50):  # Newton's method, a step halved until it lowers the loss
        wrong = torch.sigmoid(-signs * (inputs @ found))
        gradient = -(weights * signs * wrong) @ inputs
        curvature = (weights * wrong * (1 - wrong))[:, None] * inputs
        ridge = 1e-9 * torch.eye(2, dtype=torch.float64, device=logits.device)
        step = torch.linalg.solve(curvature.t() @ inputs + ridge, gradient)
        before = loss(found)
        while loss(found - step) > before and float(step.abs().max()) > 1e-12:
            step = step / 2
        found = found - step
        if float(step.abs().max()) < 1e-10:
            break
    return (float(found[0]), float(found[1])) if found[0] > 0 else (0.0, 0.0)
