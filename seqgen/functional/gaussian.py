"""Diagonal Gaussians as codes: their divergence, draws, densities, and what a posterior tells about its data.

A Gaussian is its mean (B, Z) and the logarithm of its variance (B, Z). All results are in nats.
"""

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, var) ‖ N(0, I)) of each unit; (B, Z), (B, Z) → (B, Z) (Kingma & Welling 2014, app. B)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def draw(mean: Tensor, log_var: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Draw a code of each row, differentiable in both (the reparameterisation trick); (B, Z) → (B, Z)."""
    noise = torch.randn(mean.shape, device=mean.device, dtype=mean.dtype, generator=rng)
    return mean + (0.5 * log_var).exp() * noise


def log_density(codes: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(codes; mean, var), summed over units; (…, Z), broadcast → (…)."""
    errors = (codes - mean).square() * (-log_var).exp()
    return -0.5 * (errors + log_var + LOG_2PI).sum(dim=-1)


def prior_log_density(codes: Tensor) -> Tensor:
    """log N(codes; 0, I); (…, Z) → (…)."""
    return -0.5 * (codes.square() + LOG_2PI).sum(dim=-1)


def tempered(mean: Tensor, log_var: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the Gaussian between N(mean, var), share 1, and N(0, I), share 0.

    It is the geometric mean of the two densities with weights share and 1 - share, normalised; (B, Z) each.
    """
    precision = share * (-log_var).exp() + (1 - share)
    return share * mean * (-log_var).exp() / precision, -precision.log()


def importance_log_likelihood(log_weights: Tensor) -> Tensor:
    """log of the mean importance weight of each row; (S, B) → (B,), a lower bound that tightens with S.

    A log weight is log p(x, z) - log q(z | x) of a draw z from the proposal q (Burda et al. 2016, eq. 8).
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    """Count the units whose posterior mean varies over the data by more than a variance of `threshold`.

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
    codes = draw(means, log_vars, rng)
    total = 0.0
    for part, mean, log_var in zip(codes.split(rows), means.split(rows), log_vars.split(rows), strict=True):
        of_all = log_density(part[:, None], means[None], log_vars[None])  # (R, N)
        marginal = torch.logsumexp(of_all, dim=1) - math.log(len(means))
        total += float((log_density(part, mean, log_var) - marginal).double().sum())
    return total / len(means)
