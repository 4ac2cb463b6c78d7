"""Adversarial variational Bayes: a VAE with an implicit posterior (Mescheder et al. 2017, arXiv:1701.04722).

The posterior draws z = E(x, ε) and has no density. A critic T(x, z) that learns to tell its draws from those
of a Gaussian approaches the log ratio of the two densities, and replaces it in the evidence lower bound. With
adaptive contrast the Gaussian has the posterior's own moments: latents are whitened by them, the critic has
to find what is not Gaussian, and the rest of KL(q(z | x) ‖ p(z)) is known in closed form.

The weight λ of the critic's part, `adversarial_weight`, is 1 in the bound.

What differs from the paper: the functions of noise are the first two Hermite polynomials,

    z = mean(x) + std(x) · (c(x) ε₀ + Σ_i (a_i(x) ε_i + b_i(x) (ε_i² - 1) / √2)),  c² + Σ (a² + b²) = 1,

whose moments need no estimate and are learned as a VAE's are, with a bound on the b, so that a critic can
follow; the contrast has the posterior's whole covariance, not only its variances (`contrast=diagonal` is the
paper's); and the critic gets the encoder's last hidden layer, on which alone the posterior depends, instead
of the image.

Metrics, of training batches, in nats an image: `loss`, at β = 1 the negative adversarial bound, which is no
bound where the critic is imperfect; `reconstruction`, -log p(x | z) of one draw of z; `kl`, its estimate with
the critic; `contrast`, the critic's part of that; `critic_loss`, 2 log 2 = 1.386 by chance; `critic_bias`,
log E[exp T] under the Gaussian, 0 for a perfect critic; `beta`, its current value; `grad_norm`; `lr`. Of the
validation split: `valid_nll`, by importance sampling from the Gaussian of the posterior's moments, 20 draws,
a bound whatever the critic; `valid_bound`, the adversarial one; `valid_kl`, `valid_contrast`,
`valid_critic_bias`; `valid_kl_least`, below the true divergence in expectation whatever the critic, by nested
Monte Carlo: where `valid_kl` is clearly less, the critic is too weak and the adversarial bound is none; and
`active_units`, how many latent dimensions differ between validation images.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen.algorithms.adversarial_bayes import ImplicitPosteriorConfig, update_critic
from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import distributed, optim
from seqgen.functional import gaussian
from seqgen.functional.implicit_posterior import (
    DivergenceBounds,
    GaussianReference,
    ImplicitPosterior,
    critic_warning,
    divergence_bounds,
    gaussian_reference,
    implicit_posterior,
    log_mean_exp,
)
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import mean_metrics
from seqgen.image.models.vae import VAE, VAEConfig
from seqgen.image.networks import likelihood, pixel_losses
from seqgen.image.networks.networks import Shape
from seqgen.models.posterior_critic import PosteriorCritic, noise_loadings

VALID_DRAWS = 20
"""Latents drawn of each validation image for its likelihood."""
INNER_DRAWS = 128
"""Draws of the common noise in a report's check of the critic."""


@dataclass(frozen=True)
class AVBConfig(ImplicitPosteriorConfig, VAEConfig):
    """Settings of adversarial variational Bayes: those of the VAE, with its defaults, and its own."""

    EPOCH_RANGE = (20, 200)

    epochs: int | None = None
    """epochs of training; none: about 4,000,000 images in all, 20 to 200 epochs"""


class AVB(VAE):
    """A VAE with an implicit posterior, and a critic of latents."""

    Config = AVBConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"net.hidden": 13, "critic.hidden": 11, "critic.draws": 2, "latent_dim": 5, "noise_dim": 2} | more
        for more in (
            {"contrast": "none", "adversarial_weight": 0.7},
            {"contrast": "diagonal", "likelihood": "gaussian"},
            {"contrast": "full", "conditional": True},
            {"net.kind": "conv", "net.channels": 2},
        )
    )
    config: AVBConfig
    monitor: str | None = "valid_nll"
    clip = 1000.0  # for rare outliers only

    def __init__(self, config: AVBConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, shape=shape, classes=classes)
        hidden = self.encoder.head.in_features
        self.loadings = noise_loadings(hidden, config.noise_dim, config.latent_dim)
        self.critic = PosteriorCritic(config.critic, hidden, config.latent_dim)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        vae = nn.ModuleList([self.encoder, self.loadings, self.decoder])
        if self.log_sigma.requires_grad:
            vae.register_parameter("log_sigma", self.log_sigma)
        self.optimizers = {
            "model": c.build_optimizer(vae, self.decoder),
            "critic": optim.adamw(self.critic, lr=c.critic.lr, betas=(0.9, 0.99)),
        }

    def training_loss(self, batch: Batch, progress: float) -> tuple[Tensor, StepMetrics]:
        """Update the critic on a batch; return the loss of encoder and decoder by it, and metrics."""
        posterior = self.implicit_posterior(batch.images, batch.labels)
        reference = gaussian_reference(posterior, self.config.contrast)
        critic_metrics = update_critic(
            self.critic, self.config.critic, self.optimizers["critic"], posterior, reference
        )
        latents, contrast = self._draw(posterior, reference)
        known, learned = reference.kl().mean(), contrast.mean()
        reconstruction = self.reconstruction_loss(latents, batch.images, batch.labels).mean()
        weighted = known + self.config.adversarial_weight * learned
        loss, parts = self._weighted_loss(reconstruction, weighted, progress)
        parts["kl"] = (known + learned).detach()
        return loss, {**parts, "contrast": learned.detach(), **critic_metrics}

    def _draw(self, posterior: ImplicitPosterior, reference: GaussianReference) -> tuple[Tensor, Tensor]:
        """Draw a latent of each image, (B, Z), and return it with the critic's score, (B,)."""
        latents = posterior.draw(1)
        contrast = self.critic(posterior.features.detach(), reference.whiten(latents))
        return latents[:, 0], contrast[:, 0]

    def implicit_posterior(self, images: Tensor, labels: Tensor | None = None) -> ImplicitPosterior:
        """Return q(z | x) of B images; (B, C, H, W)."""
        features = self.encoder.features(images, self.network_labels(labels))
        return implicit_posterior(features, self.encoder.head(features), self.loadings(features))

    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the means and log-variances of q(z | x); (B, C, H, W) → (B, Z), (B, Z)."""
        posterior = self.implicit_posterior(images, labels)
        return posterior.mean, 2 * posterior.std.log()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the bounds, the critic and the use of the latent on held-out images."""
        self.eval()
        measured, means, gaussian_scores = [], [], []
        for batch in batches:
            posterior = self.implicit_posterior(batch.images, batch.labels)
            bound, contrast, latents = self._bound(posterior, batch)
            nll = -self.log_likelihood(batch.images, batch.labels, samples=VALID_DRAWS)
            metrics = {
                "valid_nll": nll,
                "valid_bound": bound,
                "valid_kl": contrast + gaussian_reference(posterior, self.config.contrast).kl(),
                "valid_kl_least": divergence_bounds(posterior, draws=1, inner=INNER_DRAWS).least,
                "valid_contrast": contrast,
            }
            measured.append((len(batch.images), {name: each.mean() for name, each in metrics.items()}))
            means.append(posterior.mean)
            normal = distributed.randn(*latents.shape, device=latents.device)[:, None]
            gaussian_scores.append(self.critic(posterior.features, normal))
        return {
            **mean_metrics(measured),
            "valid_critic_bias": float(log_mean_exp(torch.cat(gaussian_scores))),
            "active_units": float(gaussian.active_units(torch.cat(means))),
        }

    def remark(self, report: Metrics) -> str | None:
        """Warn where the critic underestimates the divergence: the adversarial bound is none then."""
        by_critic, least = report.get("valid_kl", math.inf), report.get("valid_kl_least", 0.0)
        return critic_warning(by_critic, least)

    @torch.no_grad()
    def check_critic(
        self, batch: Batch, *, draws: int, inner: int, rng: torch.Generator | None = None
    ) -> tuple[Tensor, DivergenceBounds]:
        """Return KL(q(z | x) ‖ p(z)) of images by the critic, (B,), and its bounds by nested Monte Carlo."""
        self.eval()
        posterior = self.implicit_posterior(batch.images, batch.labels)
        reference = gaussian_reference(posterior, self.config.contrast)
        latents = reference.whiten(posterior.draw(draws, rng))
        scores = self.critic(posterior.features, latents)
        bounds = divergence_bounds(posterior, draws=draws, inner=inner, rng=rng)
        return reference.kl() + scores.mean(dim=1), bounds

    def _bound(self, posterior: ImplicitPosterior, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the negative bound of one draw of each latent, the critic's part, (B,), and the latents."""
        reference = gaussian_reference(posterior, self.config.contrast)
        latents, contrast = self._draw(posterior, reference)
        reconstruction = self.reconstruction_loss(latents, batch.images, batch.labels)
        return reconstruction + reference.kl() + contrast, contrast, latents

    @torch.no_grad()
    def adversarial_bound(self, batch: Batch) -> Tensor:
        """Return the adversarial bound on log p(x), of one draw of each latent, in nats; (B,).

        It is a bound only where the critic is perfect: a weak critic underestimates the divergence.
        """
        self.eval()
        bound, *_ = self._bound(self.implicit_posterior(batch.images, batch.labels), batch)
        return -(bound + pixel_losses.constant(self.config.likelihood, batch.images[0].numel()))

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score: reconstruction loss at the mean of z, plus KL of a Gaussian; → (B,)."""
        self.eval()
        posterior = self.implicit_posterior(images, labels)
        kl = gaussian_reference(posterior, "full").kl()
        return self.reconstruction_loss(posterior.mean, images, labels) + kl

    def _proposal(
        self, images: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> likelihood.Proposal:
        """Return the density that importance sampling draws from.

        The Gaussian with the posterior's moments, whose density is known: a lower bound whatever the critic.
        """
        reference = gaussian_reference(self.implicit_posterior(images, labels), "full")

        def propose(draws: int) -> tuple[Tensor, Tensor]:
            latents, log_q = reference.draw(draws, rng)
            return latents.transpose(0, 1), log_q.transpose(0, 1)

        return propose
