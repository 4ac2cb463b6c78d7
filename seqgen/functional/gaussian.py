"""Diagonal Gaussians of latents: divergence, samples, densities, and what a posterior says of its data.

A Gaussian is its mean (B, Z) and the logarithm of its variance (B, Z). All results are in nats.
"""

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, var) ‖ N(0, I)) of each dimension; (B, Z), (B, Z) → (B, Z) (Kingma & Welling 2014)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def sample(mean: Tensor, log_var: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Sample a latent of each row, differentiable in both (reparameterisation trick); (B, Z) → (B, Z)."""
    noise = torch.randn(mean.shape, device=mean.device, dtype=mean.dtype, generator=rng)
    return mean + (0.5 * log_var).exp() * noise


def log_density(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(latents; mean, var), summed over dimensions; (…, Z), broadcast → (…)."""
    errors = (latents - mean).square() * (-log_var).exp()
    return -0.5 * (errors + log_var + LOG_2PI).sum(dim=-1)


def prior_log_density(latents: Tensor) -> Tensor:
    """log N(latents; 0, I); (…, Z) → (…)."""
    return -0.5 * (latents.square() + LOG_2PI).sum(dim=-1)


def tempered(mean: Tensor, log_var: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the Gaussian between N(mean, var), weight 1, and N(0, I), weight 0.

    It is the geometric mean of the two densities with weights weight and 1 - weight, normalised; (B, Z) each.
    """
    precision = weight * (-log_var).exp() + (1 - weight)
    return weight * mean * (-log_var).exp() / precision, -precision.log()


def importance_log_likelihood(log_weights: Tensor) -> Tensor:
    """log of the mean importance weight of each row; (S, B) → (B,), a lower bound that tightens with S.

    A log weight is log p(x, z) - log q(z | x) of a draw z from the proposal q (Burda et al. 2016, eq. 8).
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    """Count the dimensions whose posterior mean varies over the data by more than a variance of `threshold`.

    means (N, Z); the measure and its threshold are those of Burda et al. 2016, §5.2.
    """
    if len(means) < 2:
        return 0
    return int((means.var(dim=0) > threshold).sum())


def mutual_information(
    means: Tensor, log_vars: Tensor, *, rng: torch.Generator | None = None, rows: int = 512
) -> float:
    """Estimate I(x; z) under the posterior: E[log q(z | x) - log q(z)], q(z) the mean of the N posteriors.

    means, log_vars (N, Z); one draw of each posterior; `rows` draws are compared at a time. At most log N
    (Hoffman & Johnson 2016; the estimator of He et al. 2019, which it needs large N to be fair).
    """
    if not len(means):
        return 0.0
    latents = sample(means, log_vars, rng)
    total = 0.0
    for part, mean, log_var in zip(latents.split(rows), means.split(rows), log_vars.split(rows), strict=True):
        of_all = log_density(part[:, None], means[None], log_vars[None])  # (R, N)
        marginal = torch.logsumexp(of_all, dim=1) - math.log(len(means))
        total += float((log_density(part, mean, log_var) - marginal).double().sum())
    return total / len(means)
