"""Posteriors that are samplers, the Gaussians with their moments, and the critic of the two.

B images, S draws of each, Z units of a code, E units of noise, H of an encoder's last hidden layer.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.functional import gaussian

BENT = 0.5
"""Bound of a unit's bent ways, the root of their sum of squares, beside the 1 of its own noise."""


class Posterior(NamedTuple):
    """A sampler of codes for each of B images: z = mean + deviation · (own · ε₀ + ways · functions of ε)."""

    hidden: Tensor
    """(B, H): the encoder's last hidden layer, which tells the critic of the image"""
    mean: Tensor
    """(B, Z)"""
    deviation: Tensor
    """(B, Z): the standard deviation of each unit"""
    own: Tensor
    """(B, Z): share of it that is noise of the unit's own, ε₀"""
    ways: Tensor
    """(B, Z, 2E): share of it that each function of the common noise has; own² + Σ ways² = 1"""

    def draw(self, draws: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw codes, differentiable in all parts; → (B, S, Z)."""
        batch, units, functions = self.ways.shape
        noise = torch.randn(
            (batch, draws, units + functions // 2),
            generator=rng,
            device=self.mean.device,
            dtype=self.mean.dtype,
        )
        own, common = noise.split([units, functions // 2], dim=2)
        shape = self.own[:, None] * own + hermite(common) @ self.ways.transpose(1, 2)
        return self.mean[:, None] + self.deviation[:, None] * shape

    def correlation(self) -> Tensor:
        """Return the correlations of the units, exactly; (B, Z, Z)."""
        return torch.diag_embed(self.own.square()) + self.ways @ self.ways.transpose(1, 2)

    def detach(self) -> "Posterior":
        """Return the same without its history."""
        return Posterior(*(part.detach() for part in self))


class Reference(NamedTuple):
    """The Gaussian N(mean, L Lᵀ) that the critic compares the posterior of each of B images with."""

    mean: Tensor
    """(B, Z)"""
    root: Tensor
    """(B, Z, Z): L, lower triangular"""

    def normalised(self, codes: Tensor) -> Tensor:
        """Return L⁻¹ (z - mean), which is standard normal of the Gaussian's own draws; (B, S, Z)."""
        centred = (codes - self.mean[:, None]).transpose(1, 2)
        return torch.linalg.solve_triangular(self.root, centred, upper=False).transpose(1, 2)

    def draw(self, draws: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw codes; return them, (B, S, Z), and their log densities, (B, S)."""
        shape = len(self.mean), draws, self.mean.shape[1]
        noise = torch.randn(shape, generator=rng, device=self.mean.device)
        codes = self.mean[:, None] + noise @ self.root.transpose(1, 2)
        return codes, gaussian.prior_log_density(noise) - self._log_scale()[:, None]

    def kl(self) -> Tensor:
        """KL(N(mean, L Lᵀ) ‖ N(0, I)), nats; → (B,)."""
        spread = self.root.square().sum(dim=(1, 2)) + self.mean.square().sum(dim=1) - self.mean.shape[1]
        return 0.5 * spread - self._log_scale()

    def _log_scale(self) -> Tensor:
        return self.root.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def sampler(hidden: Tensor, moments: Tensor, ways: Tensor) -> Posterior:
    """Return the sampler of an encoder's numbers; (B, H), (B, 2Z), (B, Z · 2E) → of B images.

    Means and log-variances are those of a diagonal posterior; the ways then tell, beside a 1 for the unit's
    own noise, how the variance is shared. What is bent weighs at most `BENT` beside that 1: without a bound
    codes end on a curved surface of few dimensions, whose divergence is infinite and no critic sees it.
    """
    mean, log_var = moments.chunk(2, dim=1)
    straight, bent = ways.unflatten(1, (mean.shape[1], -1)).chunk(2, dim=2)
    bent = bent * torch.rsqrt(1 + bent.square().sum(dim=2, keepdim=True) / BENT**2)
    ways = torch.cat([straight, bent], dim=2)
    own = torch.rsqrt(1 + ways.square().sum(dim=2))
    return Posterior(hidden, mean, (0.5 * log_var).exp(), own, own[..., None] * ways)


def hermite(noise: Tensor) -> Tensor:
    """Return ε and (ε² - 1) / √2; (…, E) → (…, 2E).

    Of standard normal ε the 2E values are uncorrelated and have mean 0 and variance 1.
    """
    return torch.cat([noise, (noise.square() - 1) / math.sqrt(2)], dim=-1)


def reference(posterior: Posterior, contrast: str) -> Reference:
    """Return the Gaussian of a contrast: the prior (`none`), or one with the posterior's moments.

    KL(q ‖ p) = KL(q ‖ r) + KL(r ‖ p) for such an r and a standard normal p: log r and log p are quadratic,
    so that q and r give them the same expectation; with variances alone, because p has no correlations.
    """
    if contrast == "none":
        eye = torch.eye(posterior.mean.shape[1], device=posterior.mean.device)
        return Reference(torch.zeros_like(posterior.mean), eye.expand(len(posterior.mean), -1, -1))
    if contrast == "diagonal":
        return Reference(posterior.mean, torch.diag_embed(posterior.deviation))
    # Where numbers have run off the root is nan, and the update says so.
    root, _ = torch.linalg.cholesky_ex(posterior.correlation())
    return Reference(posterior.mean, posterior.deviation[..., None] * root)


@dataclass(frozen=True)
class CriticConfig:
    """The critic T(x, z)."""

    hidden: int = 256
    """units of a layer"""
    layers: int = 2
    """layers between the code and the score"""
    steps: int = 2
    """updates at each update of encoder and decoder"""
    draws: int = 4
    """codes of each image, of the posterior and as many of the Gaussian, in an update"""
    lr: float = 1e-3
    """peak learning rate of its Adam"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, hidden=(1, None), layers=(1, None), steps=(1, None), draws=(1, None), lr=(0.0, None)
        )


class Critic(nn.Module):
    """T(x, z): how much likelier a normalised code is under the posterior than under the Gaussian, nats."""

    def __init__(self, config: CriticConfig, hidden: int, code: int) -> None:
        super().__init__()
        self.of_image = nn.Linear(hidden, config.hidden)
        self.of_code = nn.Linear(code, config.hidden, bias=False)
        layers: list[nn.Module] = [nn.SiLU()]
        for _ in range(config.layers - 1):
            layers += [nn.Linear(config.hidden, config.hidden), nn.SiLU()]
        last = nn.Linear(config.hidden, 1)
        # Before it has learned anything it tells no code from another: they are normalised already.
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(*layers, last)

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """(B, H), (B, S, Z) → (B, S)."""
        return self.body(self.of_image(hidden)[:, None] + self.of_code(codes)).squeeze(-1)
