"""Implicit posteriors: exact moments, divergences that add up, and their bounds."""

import math

import pytest
import torch
from torch import Tensor

from seqgen.functional import gaussian
from seqgen.functional.implicit_posterior import (
    GaussianReference,
    ImplicitPosterior,
    divergence_bounds,
    gaussian_reference,
    hermite,
    implicit_posterior,
)

B, Z, E, H = 3, 5, 2, 7


def posterior(*, squares: bool = True, dtype: torch.dtype = torch.float32) -> ImplicitPosterior:
    rng = torch.Generator().manual_seed(1)
    loadings = 0.6 * torch.randn(B, Z, 2 * E, generator=rng, dtype=dtype)
    if not squares:
        loadings[..., E:] = 0.0
    features, moments = (torch.randn(B, n, generator=rng, dtype=dtype) for n in (H, 2 * Z))
    return implicit_posterior(features, moments, loadings.flatten(1))


def covariance(q: ImplicitPosterior) -> Tensor:
    return q.std[:, :, None] * q.correlation() * q.std[:, None, :]


def test_functions_of_the_noise_by_hand() -> None:
    # ε = 2, -1: (4 - 1) / √2 and (1 - 1) / √2
    scores = hermite(torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(scores, torch.tensor([[2.0, -1.0, 3 / math.sqrt(2), 0.0]]))


def test_moments_are_those_of_the_draws() -> None:
    q = posterior()
    latents = q.draw(200_003, torch.Generator().manual_seed(0))
    torch.testing.assert_close(latents.mean(dim=1), q.mean, rtol=0, atol=1e-2)
    for i in range(B):
        torch.testing.assert_close(torch.cov(latents[i].T), covariance(q)[i], rtol=1e-2, atol=3e-2)
    torch.testing.assert_close(q.correlation().diagonal(dim1=1, dim2=2), torch.ones(B, Z))


def test_a_posterior_of_an_encoders_outputs_by_hand() -> None:
    # Z = 2, E = 1: means, log-variances; of each dimension the linear loading and the quadratic one, which
    # with a bound of ½ is b / √(1 + 4 b²) = √2 / 3 and √6 / 5; all over
    # √(1 + 25/9 + 2/9) = 2 and √(1 + 194/25 + 6/25) = 3
    loadings = torch.tensor([[5 / 3, 2**0.5, 194**0.5 / 5, 6**0.5]])
    q = implicit_posterior(torch.zeros(1, 1), torch.tensor([[1.0, 2, 0, math.log(9)]]), loadings)
    assert q.mean.tolist() == [[1, 2]]
    torch.testing.assert_close(q.std, torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(q.independent, torch.tensor([[1 / 2, 1 / 3]]))
    torch.testing.assert_close(
        q.loadings, torch.tensor([[[5 / 6, 2**0.5 / 6], [194**0.5 / 15, 6**0.5 / 15]]])
    )


def test_a_reference_by_hand() -> None:
    # N((1, 0), L Lᵀ) with L = [[2, 0], [1, 3]]: z = (5, 8) → u = (2, (8 - 2) / 3) = (2, 2)
    q = GaussianReference(torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 0.0], [1.0, 3.0]]]))
    assert q.whiten(torch.tensor([[[5.0, 8.0]]])).tolist() == [[[2.0, 2.0]]]
    # KL = ½ (tr 14 + 1 - 2) - log 6
    assert q.kl().item() == pytest.approx(6.5 - math.log(6))
    latents, log_density = q.draw(11, torch.Generator().manual_seed(0))
    exact = torch.distributions.MultivariateNormal(q.mean, scale_tril=q.cholesky).log_prob(latents[0])
    torch.testing.assert_close(log_density[0], exact)


def test_every_contrast_leaves_a_gaussians_divergence_as_it_is() -> None:
    # Without squares the posterior is N(mean, C): the optimal critic's mean is a divergence of Gaussians.
    q = posterior(squares=False, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(q.mean, covariance(q))
    prior = torch.distributions.MultivariateNormal(torch.zeros(Z, dtype=torch.float64), torch.eye(Z))
    total = torch.distributions.kl_divergence(exact, prior)
    for contrast in ("none", "diagonal", "full"):
        reference = gaussian_reference(q, contrast)
        gaussian_density = torch.distributions.MultivariateNormal(
            reference.mean, scale_tril=reference.cholesky
        )
        remainder = torch.distributions.kl_divergence(exact, gaussian_density)
        torch.testing.assert_close(remainder + reference.kl(), total)
    assert remainder.abs().max() < 1e-9  # full: a Gaussian leaves the critic nothing to find
    diagonal = gaussian_reference(q, "diagonal").whiten(q.draw(50_021, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        diagonal.var(dim=1), torch.ones(B, Z, dtype=torch.float64), rtol=0, atol=5e-2 / 2
    )


def density_on_a_grid(q: ImplicitPosterior) -> tuple[Tensor, Tensor]:
    """∫ N(ε) N(z; mean + loadings · hermite(ε), var) dε, for one latent dimension and one of noise."""
    grid = torch.linspace(-9, 27, 4001, dtype=torch.float64)
    noise = torch.linspace(-6, 6, 1201, dtype=torch.float64)[:, None]
    centres = q.mean[0] + q.std[0] * (hermite(noise) @ q.loadings[0].T)  # (noise, 1)
    log_var = 2 * (q.std[0] * q.independent[0]).log()
    weights = gaussian.prior_log_density(noise)[:, None].exp() * (noise[1] - noise[0])
    kernel = gaussian.log_density(grid[None, :, None], centres[:, :, None], log_var).exp()
    return grid, (weights * kernel).sum(dim=0)


def test_a_contrast_leaves_a_skewed_posteriors_divergence_as_it_is() -> None:
    # KL(q ‖ p) by quadrature = KL(q ‖ r) by quadrature + KL(r ‖ p) in closed form
    one = torch.ones(1, 1, dtype=torch.float64)
    moments = torch.tensor([[1.0, 0.2]], dtype=torch.float64)
    q = implicit_posterior(one, moments, torch.tensor([[0.7, 1.6]], dtype=torch.float64))
    grid, density = density_on_a_grid(q)
    step = grid[1] - grid[0]
    assert (density * step).sum() == pytest.approx(1.0, abs=1e-6)

    def divergence(log_other: Tensor) -> float:
        return float((density * (density.clamp(min=1e-300).log() - log_other)).sum() * step)

    total = divergence(gaussian.prior_log_density(grid[:, None]))
    for contrast in ("diagonal", "full"):
        reference = gaussian_reference(q, contrast)
        log_r = gaussian.log_density(grid[:, None], reference.mean[0], 2 * reference.cholesky[0, 0].log())
        left = divergence(log_r)
        assert left > 0.02  # it is not Gaussian, so the critic has something to find
        assert left + reference.kl().item() == pytest.approx(total, rel=1e-4)


def test_bounds_of_the_divergence_of_a_gaussian_hold_its_closed_form() -> None:
    q = posterior(squares=False)
    bounds = divergence_bounds(q, draws=20_011, inner=17, rng=torch.Generator().manual_seed(2))
    exact = gaussian_reference(q, "full").kl()
    assert (bounds.least < bounds.most).all()
    torch.testing.assert_close(bounds.least, exact, rtol=0, atol=0.05)
    torch.testing.assert_close(bounds.most, exact, rtol=0, atol=0.05)


def test_bounds_of_the_divergence_hold_an_integral_over_a_grid() -> None:
    # one latent dimension, q(z) by a sum over a fine grid of its common noise, the divergence by one over z
    rng = torch.Generator().manual_seed(1)
    moments, loadings = torch.randn(B, 2, generator=rng), 2 * torch.randn(B, 2, generator=rng)
    q = implicit_posterior(torch.zeros(B, H), moments, loadings)
    noise, latents = torch.linspace(-7, 7, 2001), torch.linspace(-15, 15, 6001)
    weights = gaussian.prior_log_density(noise[:, None]).softmax(dim=0)
    means = q.mean + q.std * (q.loadings[:, 0] @ hermite(noise[:, None]).T)  # (B, 2001)
    normal = torch.distributions.Normal(means[:, None], (q.std * q.independent)[:, None])
    density = normal.log_prob(latents[:, None]).exp() @ weights  # (B, 6001)
    terms = density * (density.log() - gaussian.prior_log_density(latents[:, None]))
    exact = torch.where(density > 0, terms, 0.0).sum(dim=1) * (latents[1] - latents[0])
    assert (exact - gaussian_reference(q, "full").kl() > 0.015).any()  # no Gaussians, these
    bounds = divergence_bounds(q, draws=20_011, inner=211, rng=torch.Generator().manual_seed(2))
    torch.testing.assert_close(bounds.least, exact, rtol=0, atol=0.018)
    torch.testing.assert_close(bounds.most, exact, rtol=0, atol=0.018)
    few = divergence_bounds(q, draws=40_009, inner=2, rng=torch.Generator().manual_seed(2))
    assert (few.least < exact).all()
    assert (few.most > exact).all()


@pytest.mark.cuda
def test_bounds_of_the_divergence_on_a_gpu() -> None:
    q = ImplicitPosterior(*(part.cuda() for part in posterior()))
    bounds = divergence_bounds(q, draws=2003, inner=50, rng=torch.Generator("cuda").manual_seed(2))
    assert (bounds.least <= bounds.most).all()
    on_cpu = divergence_bounds(posterior(), draws=2003, inner=50, rng=torch.Generator().manual_seed(2))
    torch.testing.assert_close(bounds.least.cpu(), on_cpu.least, rtol=0, atol=0.3)
