"""Diagonal Gaussians against torch.distributions, closed forms and hand-computed numbers."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from seqgen.functional import gaussian

N, Z, S = 7, 3, 5


def posteriors(rows=N, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rows, Z, generator=rng), 0.5 * torch.randn(rows, Z, generator=rng)


def test_the_divergence_is_that_of_torch():
    mean, log_var = posteriors()
    reference = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros(Z), torch.ones(Z)))
    assert torch.allclose(gaussian.kl(mean, log_var), reference, atol=1e-6)


def test_the_divergence_by_hand():
    # mean 2, variance e: (4 + e - 1 - 1) / 2; the prior itself: 0
    found = gaussian.kl(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert found.tolist() == [[pytest.approx((2 + math.e) / 2), 0.0]]


def test_densities_are_those_of_torch():
    mean, log_var = posteriors()
    latents, _ = posteriors(S * N, seed=1)
    latents = latents.view(S, N, Z)
    reference = Independent(Normal(mean, (0.5 * log_var).exp()), 1).log_prob(latents)
    assert torch.allclose(gaussian.log_density(latents, mean, log_var), reference, atol=1e-5)
    prior = Independent(Normal(torch.zeros(Z), torch.ones(Z)), 1).log_prob(latents)
    assert torch.allclose(gaussian.prior_log_density(latents), prior, atol=1e-5)


def test_samples_have_the_moments_given_and_a_gradient():
    mean, log_var = (torch.tensor([[m]] * 20_000, requires_grad=True) for m in (2.0, math.log(9.0)))
    sampled = gaussian.sample(mean, log_var, torch.Generator().manual_seed(3))
    assert float(sampled.detach().mean()) == pytest.approx(
        2.0, abs=0.1
    )  # five standard errors of 3 / √20,000
    assert float(sampled.detach().std()) == pytest.approx(3.0, abs=0.1)
    sampled.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))
    # d/d log_var of mean + e^(log_var / 2) · noise is half the distance from the mean
    assert torch.allclose(log_var.grad, (sampled - mean).detach() / 2, atol=1e-5)
    again = gaussian.sample(mean, log_var, torch.Generator().manual_seed(3))
    assert torch.equal(sampled, again)


def test_between_posterior_and_prior_lies_their_geometric_mean():
    mean, log_var = posteriors()
    latents, _ = posteriors(S * N, seed=1)
    latents = latents.view(S, N, Z)
    posterior, prior = gaussian.log_density(latents, mean, log_var), gaussian.prior_log_density(latents)
    for weight in (0.0, 0.3, 1.0):
        between = gaussian.log_density(latents, *gaussian.tempered(mean, log_var, weight))
        rest = between - weight * posterior - (1 - weight) * prior  # the normaliser's logarithm
        assert torch.allclose(rest, rest[:1].expand(S, -1), atol=1e-5)
        assert bool((rest[0] > -1e-5).all())


def test_importance_weights_are_averaged_before_the_logarithm():
    # two samples of a row: weights 1 and 3, mean 2; of the other: 1/2 and 1/2
    log_weights = torch.tensor([[1.0, 0.5], [3.0, 0.5]]).log()
    assert gaussian.importance_log_likelihood(log_weights).tolist() == pytest.approx(
        [math.log(2), math.log(0.5)]
    )


def test_importance_weighting_finds_a_known_evidence():
    # z ~ N(0, 1), x | z ~ N(z, 1): x ~ N(0, 2), and a proposal that is not the posterior N(x / 2, 1 / 2)
    x = torch.tensor([1.5, -0.3])
    mean, log_var = 0.4 * x[:, None], torch.full((2, 1), math.log(0.7))
    rng = torch.Generator().manual_seed(0)
    shape = (20_000, 2, 1)
    latents = gaussian.sample(mean.expand(shape), log_var.expand(shape), rng)
    joint = Normal(latents[..., 0], 1.0).log_prob(x) + gaussian.prior_log_density(latents)
    found = gaussian.importance_log_likelihood(joint - gaussian.log_density(latents, mean, log_var))
    assert torch.allclose(found, Normal(0.0, math.sqrt(2)).log_prob(x), atol=5e-3)


def test_a_dimension_is_active_where_its_mean_varies():
    # deviations ±0.2 of the first dimension, variance 0.04 · 4 / 3; ±0.05 of the second; none of the third
    means = torch.tensor([[0.2, 0.05, 5.0], [-0.2, -0.05, 5.0]] * 2)
    assert gaussian.active_units(means) == 1
    assert gaussian.active_units(means, threshold=1e-3) == 2
    assert gaussian.active_units(means[:1]) == 0


def test_no_information_where_all_posteriors_are_alike():
    mean = torch.full((N, Z), 0.7)
    assert gaussian.mutual_information(mean, torch.zeros(N, Z)) == pytest.approx(0.0, abs=1e-6)
    assert gaussian.mutual_information(mean[:0], torch.zeros(0, Z)) == 0.0


def test_all_information_where_posteriors_lie_far_apart():
    mean = 100.0 * torch.arange(N, dtype=torch.float32)[:, None].expand(N, Z)
    assert gaussian.mutual_information(mean, torch.zeros(N, Z)) == pytest.approx(math.log(N), abs=1e-5)


def test_mutual_information_is_that_of_jointly_gaussian_variables():
    # x ~ N(0, s²) tells z = x + N(0, 1): I = ln(1 + s²) / 2 a dimension
    rng = torch.Generator().manual_seed(2)
    mean = 1.5 * torch.randn(3001, 2, generator=rng)
    found = gaussian.mutual_information(mean, torch.zeros(3001, 2), rng=rng, rows=701)
    assert found == pytest.approx(math.log(1 + 1.5**2), abs=0.06)
