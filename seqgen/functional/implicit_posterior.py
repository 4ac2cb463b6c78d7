"""Implicit posteriors, which have no density, and Gaussians with the same moments, as a critic compares them.

B images or sentences, S draws of each, Z latent dimensions, E dimensions of the common noise, H units of an
encoder's last hidden layer.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.functional import gaussian

Contrast = Literal["none", "diagonal", "full"]

MAX_QUADRATIC = 0.5
"""Bound of the norm of a dimension's quadratic loadings, relative to the loading of its independent noise."""
LEAST_GAP, GAP_FRACTION = 0.5, 0.05
"""Nats, and the fraction of the divergence, by which a critic may underestimate it without a warning."""


class ImplicitPosterior(NamedTuple):
    """q(z | x) of B inputs: z = mean + std · (independent · ε₀ + loadings · h(ε)), h the Hermite functions.

    ε₀ (Z,) is independent noise, one number for each latent dimension; ε (E,) is common to all of them.
    """

    features: Tensor
    """(B, H): the encoder's last hidden layer, the input as the critic gets it"""
    mean: Tensor
    """(B, Z)"""
    std: Tensor
    """(B, Z): the standard deviation of each dimension"""
    independent: Tensor
    """(B, Z): the loading of the independent noise ε₀"""
    loadings: Tensor
    """(B, Z, 2E): the loading of each function of the common noise; independent² + Σ loadings² = 1"""

    def draw(self, draws: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw latents, differentiable in all parts; → (B, S, Z)."""
        return self.draw_with_noise(draws, rng)[0]

    def draw_with_noise(self, draws: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw latents, (B, S, Z), and return them with their common noise, (B, S, E)."""
        batch, dimensions, functions = self.loadings.shape
        common_dimensions = functions // 2
        noise = distributed.randn(
            batch,
            draws,
            dimensions + common_dimensions,
            generator=rng,
            device=self.mean.device,
            dtype=self.mean.dtype,
        )
        independent, common = noise.split([dimensions, common_dimensions], dim=2)
        standardised = self.independent[:, None] * independent + hermite(common) @ self.loadings.mT
        return self.mean[:, None] + self.std[:, None] * standardised, common

    def correlation(self) -> Tensor:
        """Return the correlation matrix of the latent dimensions, exactly; (B, Z, Z)."""
        return torch.diag_embed(self.independent.square()) + self.loadings @ self.loadings.mT

    def detach(self) -> "ImplicitPosterior":
        """Return the same without gradient."""
        return ImplicitPosterior(*(part.detach() for part in self))


class DivergenceBounds(NamedTuple):
    """Bounds of KL(q(z | x) ‖ N(0, I)) of B inputs, in nats, each in expectation; (B,) each."""

    least: Tensor
    most: Tensor


def divergence_bounds(
    posterior: ImplicitPosterior, *, draws: int, inner: int, rng: torch.Generator | None = None
) -> DivergenceBounds:
    """Bound KL(q(z | x) ‖ p(z)) by nested Monte Carlo.

    Given the common noise a latent is Gaussian, so that q(z) = E[N(z; mean(ε), var)] over ε. The logarithm of
    an estimate of that from independent draws of ε is below log q(z) in expectation; with the ε among them
    that z was drawn with, it is above (Sobolev & Vetrov 2019, "Importance weighted hierarchical variational
    inference"; Yin & Zhou 2018 for draws of the prior of ε). Draws come in turn from that prior and from the
    posterior of ε given z without the quadratic functions, and are weighed by the density of both together.

    Args:
        draws: latents of each input.
        inner: draws of the common noise for each of them; the more, the closer the bounds.
    """
    latents, own = posterior.draw_with_noise(draws, rng)
    whitened = (latents - posterior.mean[:, None]) / posterior.std[:, None]
    mean, root = _noise_posterior(posterior, whitened)
    noise = distributed.randn(*own.shape[:2], inner, own.shape[2], generator=rng, device=own.device)
    is_informed = torch.arange(inner, device=own.device)[:, None] % 2 == 0
    noise = torch.where(is_informed, mean[:, :, None] + noise @ root.mT[:, None], noise)
    points = torch.cat([own[:, :, None], noise], dim=2)  # (B, S, 1 + inner, E)
    log_weights = _log_weights(posterior, whitened, points, mean, root)
    least = torch.logsumexp(log_weights[..., 1:], dim=2) - math.log(inner)
    most = torch.logsumexp(log_weights, dim=2) - math.log(inner + 1)
    # log p(z) is quadratic, and the moments of the posterior are known: no draw is needed.
    squares = posterior.mean.square() + posterior.std.square() + math.log(2 * math.pi)
    constant = 0.5 * squares.sum(dim=1) - posterior.std.log().sum(dim=1)
    return DivergenceBounds(least.mean(dim=1) + constant, most.mean(dim=1) + constant)


def _noise_posterior(posterior: ImplicitPosterior, whitened: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the common noise given whitened latents, (B, S, E), without the quadratic functions,
    and the Cholesky factor of its covariance, (B, E, E)."""
    linear = posterior.loadings.chunk(2, dim=2)[0]
    scaled = linear / posterior.independent.square()[..., None]  # (B, Z, E)
    precision = torch.eye(linear.shape[2], device=linear.device) + linear.mT @ scaled
    covariance = torch.linalg.inv(precision)
    return whitened @ scaled @ covariance, torch.linalg.cholesky(covariance)


def _log_weights(
    posterior: ImplicitPosterior, whitened: Tensor, points: Tensor, mean: Tensor, root: Tensor
) -> Tensor:
    """log N(u; …) p(ε) / r(ε) of whitened latents u, (B, S, Z), at points ε, (B, S, M, E); → (B, S, M).

    r is half the prior of ε and half N(mean, root rootᵀ).
    """
    means = hermite(points) @ posterior.loadings.mT[:, None]  # (B, S, M, Z)
    loading = posterior.independent[:, None, None]
    errors = ((whitened[:, :, None] - means) / loading).square() + math.log(2 * math.pi)
    log_q = -0.5 * errors.sum(dim=3) - loading.log().sum(dim=3)
    log_prior = gaussian.prior_log_density(points)
    centred = torch.linalg.solve_triangular(root[:, None], (points - mean[:, :, None]).mT, upper=False).mT
    determinant = root.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    log_informed = gaussian.prior_log_density(centred) - determinant[:, None, None]
    return log_q + log_prior - torch.logaddexp(log_prior, log_informed) + math.log(2)


class GaussianReference(NamedTuple):
    """The Gaussian N(mean, L Lᵀ) that the critic compares the posterior of each of B inputs with."""

    mean: Tensor
    """(B, Z)"""
    cholesky: Tensor
    """(B, Z, Z): L, lower triangular"""

    def whiten(self, latents: Tensor) -> Tensor:
        """Return L⁻¹ (z - mean), standard normal for latents drawn from this Gaussian; (B, S, Z)."""
        centred = (latents - self.mean[:, None]).mT
        return torch.linalg.solve_triangular(self.cholesky, centred, upper=False).mT

    def draw(self, draws: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw latents; return them, (B, S, Z), and their log densities, (B, S)."""
        shape = len(self.mean), draws, self.mean.shape[1]
        noise = distributed.randn(*shape, generator=rng, device=self.mean.device)
        latents = self.mean[:, None] + noise @ self.cholesky.mT
        return latents, gaussian.prior_log_density(noise) - self._log_determinant()[:, None]

    def kl(self) -> Tensor:
        """KL(N(mean, L Lᵀ) ‖ N(0, I)), nats; → (B,)."""
        trace = self.cholesky.square().sum(dim=(1, 2))
        squares = trace + self.mean.square().sum(dim=1) - self.mean.shape[1]
        return 0.5 * squares - self._log_determinant()

    def detach(self) -> "GaussianReference":
        """Return the same without gradient."""
        return GaussianReference(*(part.detach() for part in self))

    def _log_determinant(self) -> Tensor:
        """log det L; → (B,)."""
        return self.cholesky.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def implicit_posterior(features: Tensor, moments: Tensor, raw_loadings: Tensor) -> ImplicitPosterior:
    """Return the posteriors of an encoder's outputs; (B, H), (B, 2Z), (B, Z · 2E).

    Args:
        moments: means and log-variances, as those of a diagonal Gaussian.
        raw_loadings: of the common noise, relative to a loading of 1 of the independent noise; of each latent
            dimension first the E linear ones, then the E quadratic ones.
    """
    mean, log_var = moments.chunk(2, dim=1)
    linear, quadratic = raw_loadings.unflatten(1, (mean.shape[1], -1)).chunk(2, dim=2)
    relative = torch.cat([linear, _bound_norm(quadratic, MAX_QUADRATIC)], dim=2)
    # The squares of all loadings of a dimension sum to 1, so that its variance is exp(log_var).
    independent = torch.rsqrt(1 + relative.square().sum(dim=2))
    std = (0.5 * log_var).exp()
    return ImplicitPosterior(features, mean, std, independent, independent[..., None] * relative)


def _bound_norm(vectors: Tensor, bound: float) -> Tensor:
    """Shrink vectors smoothly to a norm below a bound; (…, E) → (…, E).

    Without a bound of the quadratic loadings the latents would end on a curved surface of few dimensions,
    whose KL divergence is infinite, and no critic would notice.
    """
    return vectors * torch.rsqrt(1 + vectors.square().sum(dim=2, keepdim=True) / bound**2)


def hermite(noise: Tensor) -> Tensor:
    """Return the first two Hermite polynomials, ε and (ε² - 1) / √2; (…, E) → (…, 2E).

    Of standard normal ε the 2E values are uncorrelated and have mean 0 and variance 1.
    """
    return torch.cat([noise, (noise.square() - 1) / math.sqrt(2)], dim=-1)


def gaussian_reference(posterior: ImplicitPosterior, contrast: Contrast) -> GaussianReference:
    """Return the Gaussian of a contrast: the prior (`none`), or one with the posterior's moments.

    KL(q ‖ p) = KL(q ‖ r) + KL(r ‖ p) for such an r and a standard normal p: log r and log p are quadratic,
    so that q and r give them the same expectation; with variances alone, because p has no correlations.
    """
    if contrast == "none":
        eye = torch.eye(posterior.mean.shape[1], device=posterior.mean.device)
        return GaussianReference(torch.zeros_like(posterior.mean), eye.expand(len(posterior.mean), -1, -1))
    if contrast == "diagonal":
        return GaussianReference(posterior.mean, torch.diag_embed(posterior.std))
    # Of outputs that are not finite the root is nan, and the update raises.
    root, _ = torch.linalg.cholesky_ex(posterior.correlation())
    return GaussianReference(posterior.mean, posterior.std[..., None] * root)


def critic_warning(by_critic: float, least: float) -> str | None:
    """Say that a critic is too weak, where its divergence is clearly below a bound of the true one; nats."""
    if least - by_critic <= max(LEAST_GAP, GAP_FRACTION * abs(least)):
        return None
    return (
        f"the critic underestimates KL(q(z | x) ‖ p(z)): {by_critic:.2f} nats, and at least {least:.2f} by "
        "nested Monte Carlo; the adversarial bound is too high by the difference, so no bound: a higher "
        "--set critic.steps=… helps, and --set contrast=full where it is another"
    )


def log_mean_exp(scores: Tensor) -> Tensor:
    """log E[exp T] of a critic's scores under the Gaussian, 0 for a perfect one; any shape → scalar."""
    return torch.logsumexp(scores.flatten(), dim=0) - math.log(scores.numel())
