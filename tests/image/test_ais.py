"""Annealed importance sampling: equal to exact likelihoods, unbiased, with a fair effective sample size."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from seqgen.functional import gaussian
from seqgen.image.evaluation.ais import Estimate, log_likelihood, schedule

B, Z, X = 3, 5, 7


class LinearGaussian:
    """x = W z + b + noise of deviation `noise`: p(x) is N(b, W Wᵀ + noise² I)."""

    def __init__(self, *, noise: float, dtype: torch.dtype = torch.float64) -> None:
        rng = torch.Generator().manual_seed(2)
        self.weight = torch.randn(X, Z, generator=rng, dtype=dtype)
        self.bias = torch.randn(X, generator=rng, dtype=dtype)
        self.noise = noise
        latents = torch.randn(B, Z, generator=rng, dtype=dtype)
        self.data = latents @ self.weight.T + self.bias
        self.data += noise * torch.randn(B, X, generator=rng, dtype=dtype)

    def log_p(self, latents: Tensor) -> Tensor:
        means = latents @ self.weight.T + self.bias
        return gaussian.log_density(self.data, means, torch.full_like(means, 2 * math.log(self.noise)))

    def exact(self) -> Tensor:
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(X, dtype=self.weight.dtype)
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(self.data)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean, and the logarithm of the variances alone, of p(z | x); (B, Z) each."""
        precision = torch.eye(Z, dtype=self.weight.dtype) + self.weight.T @ self.weight / self.noise**2
        covariance = torch.linalg.inv(precision)
        mean = (self.data - self.bias) @ self.weight @ covariance / self.noise**2
        return mean, covariance.diagonal().log().expand_as(mean)


def estimate(model: LinearGaussian, *, seed: int = 0, posterior: bool = False, **options: int) -> Estimate:
    mean, log_var = model.posterior() if posterior else (torch.zeros(B, Z, dtype=torch.float64),) * 2
    rng = torch.Generator().manual_seed(seed)
    return log_likelihood(model.log_p, mean, log_var, rng=rng, **options)


@pytest.mark.parametrize(("noise", "posterior"), [(1.0, False), (0.1, True)])
def test_a_linear_gaussian_models_likelihood_is_exact(noise: float, posterior: bool) -> None:
    model = LinearGaussian(noise=noise)
    estimated = estimate(model, posterior=posterior, chains=1009, temperatures=100, leapfrogs=5)
    torch.testing.assert_close(estimated.log_likelihood, model.exact(), rtol=1e-2, atol=1e-2)
    assert (estimated.effective_chains > 250).all()
    assert 0.6 < estimated.acceptance_rate < 0.8


def test_too_few_temperatures_show_in_the_effective_chains() -> None:
    # from the prior to a posterior 40 times as narrow
    model = LinearGaussian(noise=0.1)
    estimated = estimate(model, chains=19, temperatures=20, leapfrogs=5)
    assert (estimated.effective_chains < 4).all()
    assert (estimated.log_likelihood < model.exact()).all()


def test_the_weight_is_unbiased_however_few_the_temperatures() -> None:
    # with five temperatures a single estimate is off by nats; the mean of many weights is p(x) nonetheless
    model = LinearGaussian(noise=1.0)
    estimated = estimate(model, chains=20_011, temperatures=5, leapfrogs=3)
    torch.testing.assert_close(estimated.log_likelihood, model.exact(), rtol=1e-2, atol=0.0)
    few = [estimate(model, seed=s, chains=2, temperatures=5, leapfrogs=3).log_likelihood for s in range(60)]
    assert (torch.stack(few).mean(dim=0) < model.exact() - 0.5).all()  # a lower bound on average


def test_one_temperature_is_importance_sampling() -> None:
    # The weights are complete before the first HMC step: w = p(x, z) / N(z; mean, var). At the exact
    # posterior of a diagonal model every weight is p(x).
    model = LinearGaussian(noise=0.5)
    model.weight = torch.eye(X, Z, dtype=torch.float64) * torch.tensor(
        [2.0, 3, 5, 7, 11], dtype=torch.float64
    )
    estimated = estimate(model, posterior=True, chains=2, temperatures=1)
    torch.testing.assert_close(estimated.log_likelihood, model.exact(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(estimated.effective_chains, torch.full((B,), 2.0, dtype=torch.float64))


def test_schedule_is_dense_at_both_ends() -> None:
    betas = schedule(13)
    assert (betas[0], betas[-1], len(betas)) == (0.0, 1.0, 14)
    steps = [after - before for before, after in itertools.pairwise(betas)]
    assert min(steps) > 0
    assert steps == pytest.approx(steps[::-1])
    # σ(4 (2/13)·t - 4): the first step over the middle one, by hand σ'(−4 + 4/13) / σ'(0) ≈ 0.0946
    assert steps[0] / steps[6] == pytest.approx(0.0946, abs=1e-2)


def test_the_same_generator_gives_the_same_estimate_in_single_precision() -> None:
    model = LinearGaussian(noise=1.0, dtype=torch.float32)
    zeros = torch.zeros(B, Z)

    def once(seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        return log_likelihood(model.log_p, zeros, zeros, chains=3, temperatures=7, rng=rng).log_likelihood

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_the_decoder_gets_no_gradient() -> None:
    model = LinearGaussian(noise=1.0)
    model.weight.requires_grad_()
    estimated = estimate(model, chains=2, temperatures=5)
    assert not estimated.log_likelihood.requires_grad
    assert model.weight.grad is None
