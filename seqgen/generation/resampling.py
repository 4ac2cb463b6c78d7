"""A generator reweighted by an energy: p(x) = g(x) · exp f(x) / Z (Deng et al. 2020, arXiv:2004.11714).

Z = E_g exp f, so everything is an expectation over samples of g. What p gains on g in the likelihood of data,
KL(data‖g) - KL(data‖p) = E_data f - log E_g exp f, is the Donsker–Varadhan bound at f (Donsker & Varadhan
1983). All energies here are f, in nats; sums are float64.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import widened
from seqgen.functional.gan_losses import cross_entropy
from seqgen.generation.sample import Samples


def log_normaliser(energies: Tensor) -> Tensor:
    """Return log Z = log E_g exp f by energies of samples of g, (N,); scalar, float64."""
    return widened(energies).logsumexp(dim=0) - math.log(len(energies))


def effective_sample_size(energies: Tensor) -> float:
    """Return the fraction (Σ w)² / (N Σ w²) of samples that count, w = exp f (Kong 1992); in (0, 1]."""
    log_weights = widened(energies)
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
    on_real, on_fake = widened(on_real), widened(on_fake)
    log_z = log_normaliser(on_fake)
    weights = (on_fake - log_z).exp()
    variance = on_real.var() / len(on_real) + weights.var() / len(on_fake)
    nats = float(on_real.mean() - log_z)
    return Gain(nats, math.sqrt(float(variance)), effective_sample_size(on_fake))


def choose(energies: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
    """Choose one of each row's K candidates with probability softmax f; (N, K) → indices (N,).

    This is sampling–importance–resampling: as K grows the chosen follow p, at K = 1 they follow g.
    """
    uniform = distributed.rand(len(energies), 1, device=energies.device, generator=rng)
    cdf = torch.softmax(energies.float(), dim=1).cumsum(dim=1)
    places = torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True)
    return places[:, 0].clamp(max=energies.shape[1] - 1)


def chosen(
    drawn: Samples, energies: Tensor, *, apart: int = 1, rng: torch.Generator | None = None
) -> Samples:
    """Choose one of the K candidates of each row by its energy; drawn (N · K, T), energies (N, K) → (N, T).

    apart: how many rows of `drawn` are between two candidates of a row: 1 where they stand together, or N.
    """
    n, count = energies.shape
    first = torch.arange(n, device=energies.device) * (count if apart == 1 else 1)
    places = first + choose(energies, rng=rng) * apart
    return Samples(drawn.tokens[places], drawn.log_probs[places])


def log_chosen(energies: Tensor, candidates: int, pool: Tensor) -> Tensor:
    """Return log of the density, relative to g, of what `choose` draws from K candidates; (N,), float64.

    A sentence of energy f is chosen with density g(x) · K · E[exp f / (exp f + S)], S the sum of exp of the
    K - 1 other candidates' energies. The expectation is taken over groups of the pool (F,), energies of
    independent samples of g in a random order.

    Raises:
        ValueError: the pool has fewer than K - 1 energies.
    """
    if candidates == 1:
        return torch.zeros_like(widened(energies))
    others = candidates - 1
    if len(pool) < others:
        raise ValueError(
            f"{candidates} candidates need a pool of at least {others} energies, not {len(pool)}"
        )
    groups = widened(pool)[: len(pool) // others * others].view(-1, others).logsumexp(dim=1)  # (G,)
    own = widened(energies)
    found = [
        (part[:, None] - torch.logaddexp(part[:, None], groups)).logsumexp(dim=1) for part in own.split(1024)
    ]
    return torch.cat(found) - math.log(len(groups)) + math.log(candidates)


def calibrate(on_real: Tensor, on_fake: Tensor, start: Tensor) -> tuple[Tensor, float]:
    """Return weights w and an offset b at which the cross entropy of terms · w + b is least; float64.

    Terms of real sentences (R, D) and of samples (F, D), D ≥ 1 → (D,). Logistic regression (of one term:
    Platt 1999), either kind counting for half, with a normal prior about `start` (D,), in units of each
    term's standard deviation and as strong as one sentence of the rarer kind. An energy that was fitted to
    its training sentences is too sure of itself on others. The offset changes no density, as log Z takes it
    up; without it the weights would have to make up for it. A term that is the same for all sentences keeps
    its weight.
    """
    terms = widened(torch.cat((on_real, on_fake)))
    mean, deviation = terms.mean(dim=0), terms.std(dim=0)
    varies = deviation > 1e-9
    inputs = ((terms - mean) / deviation)[:, varies]
    inputs = torch.cat((inputs, terms.new_ones(len(terms), 1)), dim=1)
    prior = torch.cat(((widened(start) * deviation)[varies], terms.new_zeros(1)))
    strength = torch.full_like(prior, 0.5 / min(len(on_real), len(on_fake)))
    strength[-1] = 0.0
    signs = torch.cat((terms.new_ones(len(on_real)), -terms.new_ones(len(on_fake))))
    shares = torch.cat([terms.new_full((len(part),), 0.5 / len(part)) for part in (on_real, on_fake)])

    def loss(parameters: Tensor) -> float:
        wrong = torch.nn.functional.softplus(-signs * (inputs @ parameters))
        return float((shares * wrong).sum() + (strength * (parameters - prior).square()).sum() / 2)

    found = prior.clone()
    for _ in range(50):  # Newton's method, a step halved until it lowers the loss
        wrong = torch.sigmoid(-signs * (inputs @ found))
        gradient = -(shares * signs * wrong) @ inputs + strength * (found - prior)
        curvature = ((shares * wrong * (1 - wrong))[:, None] * inputs).t() @ inputs
        ridge = torch.diag(strength + 1e-12)
        step = torch.linalg.solve(curvature + ridge, gradient)
        before = loss(found)
        while loss(found - step) > before and float(step.abs().max()) > 1e-12:
            step = step / 2
        found = found - step
        if float(step.abs().max()) < 1e-10:
            break
    weights = widened(start).clone()
    weights[varies] = found[:-1] / deviation[varies]
    return weights, float(found[-1] - (mean * weights)[varies].sum())


def cross_calibrated(on_real: Tensor, on_fake: Tensor, start: Tensor) -> tuple[float, Gain] | None:
    """Return cross entropy and gain, each half of the sentences under a calibration fitted to the other.

    Terms of real sentences (R, D) and of samples (F, D), as of `calibrate`; None for fewer than four of
    either.
    """
    if min(len(on_real), len(on_fake)) < 4:
        return None
    losses, gains = [], []
    for mine, other in ((0, 1), (1, 0)):
        weights, offset = calibrate(on_real[other::2], on_fake[other::2], start)
        real, fake = (widened(each[mine::2]) @ weights for each in (on_real, on_fake))
        losses.append(float(cross_entropy(real + offset, fake + offset)))
        gains.append(gain(real, fake))
    nats, errors, effective = zip(*gains, strict=True)
    return sum(losses) / 2, Gain(sum(nats) / 2, math.hypot(*errors) / 2, sum(effective) / 2)
