"""Diagonal Gaussians of latent vectors: divergence, samples, densities, statistics of posteriors.

A Gaussian is given by its mean (B, Z) and the logarithm of its variance (B, Z). All results are in nats.
"""

import math

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import widened

LOG_2PI = math.log(2 * math.pi)


def kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, var) ‖ N(0, 1)) of each dimension (Kingma & Welling 2014, app. B); (B, Z) → (B, Z)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def sample(mean: Tensor, log_var: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Sample one latent vector of each row by the reparameterisation trick; (B, Z), (B, Z) → (B, Z).

    The sample is differentiable with respect to both arguments.
    """
    noise = distributed.randn(*mean.shape, device=mean.device, dtype=mean.dtype, generator=rng)
    return mean + (0.5 * log_var).exp() * noise


def log_density(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(latents; mean, var) of each vector, all three broadcast against each other; (…, Z) → (…)."""
    errors = (latents - mean).square() * (-log_var).exp()
    return -0.5 * (errors + log_var + LOG_2PI).sum(dim=-1)


def prior_log_density(latents: Tensor) -> Tensor:
    """log N(latents; 0, I) of each vector; (…, Z) → (…)."""
    return -0.5 * (latents.square() + LOG_2PI).sum(dim=-1)


def tempered(mean: Tensor, log_var: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of a Gaussian between N(0, I), weight 0, and N(mean, var), weight 1.

    Its density is proportional to N(mean, var)^weight · N(0, I)^(1 - weight), the geometric mean of the two;
    (B, Z), (B, Z) → (B, Z), (B, Z).
    """
    precision = weight * (-log_var).exp() + (1 - weight)
    return weight * mean * (-log_var).exp() / precision, -precision.log()


def importance_log_likelihood(log_weights: Tensor) -> Tensor:
    """log of the mean importance weight of each row; (S, B) → (B,), a lower bound that tightens with S.

    The log weight of a sample z from the proposal q is log p(x, z) - log q(z | x) (Burda et al. 2016, eq. 8).
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    """Count the active units: dimensions whose posterior mean has a variance above `threshold` over the data.

    means (N, Z). The measure, its name and its threshold are those of Burda et al. 2016, section 5.2.
    """
    if len(means) < 2:
        return 0
    return int((means.var(dim=0) > threshold).sum())


def mutual_information(
    means: Tensor, log_vars: Tensor, *, rng: torch.Generator | None = None, rows: int = 512
) -> float:
    """Estimate I(x; z) under the posterior: E[log q(z | x) - log q(z)], where q(z) is the mean posterior.

    means, log_vars (N, Z): the posteriors of N sentences, of each of which one sample is taken; `rows`
    samples are compared with all posteriors at a time. The estimate is at most log N, so N must be large for
    it to be fair (Hoffman & Johnson 2016; the estimator of He et al. 2019).
    """
    if not len(means):
        return 0.0
    latents = sample(means, log_vars, rng)
    total = 0.0
    for part, mean, log_var in zip(latents.split(rows), means.split(rows), log_vars.split(rows), strict=True):
        log_densities = log_density(part[:, None], means[None], log_vars[None])  # (R, N)
        marginal = torch.logsumexp(log_densities, dim=1) - math.log(len(means))
        total += float(widened(log_density(part, mean, log_var) - marginal).sum())
    return total / len(means)
