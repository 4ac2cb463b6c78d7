"""Variational autoencoder of images (Kingma & Welling 2014) and, by `beta`, the β-VAE (Higgins et al. 2017).

Losses are sums over an image's pixels, in nats, averaged over the batch.

Metrics, of the training batches and, as `valid_…`, of the validation split: `loss`, `reconstruction` + β·`kl`
(in training with the current β, `beta`; in validation with the final one); `reconstruction`, -log p(x | z) of
one draw of z; `kl`, KL(q(z | x) ‖ p(z)). Then `active_units`, how many latent dimensions differ between
validation images; `grad_norm`; `lr`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional import gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import EncoderDecoderModel, mean_metrics
from seqgen.image.networks import likelihood
from seqgen.image.networks.config import EncoderDecoderConfig
from seqgen.image.networks.networks import Shape, build_decoder, build_encoder
from seqgen.image.networks.pixel_losses import Likelihood


@dataclass(frozen=True)
class VAEConfig(EncoderDecoderConfig):
    """Settings of the variational autoencoder."""

    TOTAL_IMAGES, EPOCH_RANGE = 4_000_000, (20, 300)

    latent_dim: int = 50
    """dimensions of a latent vector (Z)"""
    likelihood: Likelihood = "bernoulli"
    """p(x | z) of a pixel; squared_error is Σ(x - x̂)² without the constant of the density"""
    sigma: float | None = None
    """a pixel's standard deviation under the Gaussian likelihood; none: learned, one for all pixels"""
    beta: float = 1.0
    """weight of the KL divergence; 1 is the evidence lower bound"""
    beta_warmup: float = 0.0
    """fraction of training over which beta rises from 0"""
    epochs: int | None = None
    """epochs of training; none: about 4,000,000 images in all, 20 to 300 epochs"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, sigma=(1e-4, None), beta=(0.0, None), beta_warmup=(0.0, 1.0))
        if self.sigma is not None and self.likelihood != "gaussian":
            raise UserError(
                f"sigma={self.sigma} is of the Gaussian likelihood, not of {self.likelihood}; set "
                "likelihood=gaussian, or leave sigma out"
            )


class VAE(EncoderDecoderModel):
    """An encoder to a diagonal Gaussian over latents, and a decoder."""

    Config = VAEConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"net.hidden": 7, "latent_dim": 3, "beta": 2.0, "beta_warmup": 0.5},
        {"net.kind": "conv", "net.hidden": 7, "net.channels": 3, "latent_dim": 3, "conditional": True},
        {"net.hidden": 7, "latent_dim": 3, "likelihood": "gaussian"},
        {"net.hidden": 7, "latent_dim": 3, "likelihood": "squared_error", "optimizer": "sgd"},
        {"net.hidden": 7, "latent_dim": 3, "likelihood": "poisson", "decoder_lr": 0.02},
    )
    idle_parameters = ("log_sigma",)  # learned with the Gaussian likelihood alone
    log_sigma: nn.Parameter

    def __init__(self, config: VAEConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.encoder = build_encoder(config.net, shape, 2 * config.latent_dim, classes=self.classes)
        self.decoder = build_decoder(config.net.mirrored(), config.latent_dim, shape, classes=self.classes)
        self.log_sigma = nn.Parameter(
            torch.tensor(config.sigma or 0.5).log(),
            requires_grad=config.likelihood == "gaussian" and config.sigma is None,
        )

    def training_loss(self, batch: Batch, progress: float) -> tuple[Tensor, StepMetrics]:
        """Return reconstruction loss + β · KL with the current β, the mean over a batch, and its parts."""
        reconstruction, kl = (part.mean() for part in self._loss_parts(batch))
        return self._weighted_loss(reconstruction, kl, progress)

    def _weighted_loss(
        self, reconstruction: Tensor, kl: Tensor, progress: float
    ) -> tuple[Tensor, StepMetrics]:
        """Return the sum of both parts, scalars, with the current β, and the parts as metrics."""
        beta = self._beta(progress)
        metrics: StepMetrics = {"reconstruction": reconstruction.detach(), "kl": kl.detach(), "beta": beta}
        return reconstruction + beta * kl, metrics

    def _beta(self, progress: float) -> float:
        """Return the weight of the KL divergence at `progress` in [0, 1)."""
        c = self.config
        return c.beta * (min(progress / c.beta_warmup, 1.0) if c.beta_warmup else 1.0)

    def _loss_parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the reconstruction loss of one draw of the latent, and the KL divergence; both (B,) nats."""
        mean, log_var = self.posterior(batch.images, batch.labels)
        latents = gaussian.sample(mean, log_var)
        reconstruction = self.reconstruction_loss(latents, batch.images, batch.labels)
        return reconstruction, gaussian.kl(mean, log_var).sum(dim=1)

    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return q(z | x): mean and log-variance; (B, C, H, W) → (B, Z), (B, Z)."""
        mean, log_var = self.encoder(images, self.network_labels(labels)).chunk(2, dim=1)
        return mean, log_var

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the loss and the use of the latent on held-out images."""
        self.eval()
        measured, means = [], []
        for batch in batches:
            reconstruction, kl = self._loss_parts(batch)
            measured.append(
                (len(batch.images), {"valid_reconstruction": reconstruction.mean(), "valid_kl": kl.mean()})
            )
            means.append(self.encode(batch.images, batch.labels))
        metrics = mean_metrics(measured)
        return {
            "valid_loss": metrics["valid_reconstruction"] + self.config.beta * metrics["valid_kl"],
            **metrics,
            "active_units": float(gaussian.active_units(torch.cat(means))),
        }

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the posterior means; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self.posterior(images, labels)[0]

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score: reconstruction loss at the mean of z, plus KL, in nats; → (B,)."""
        self.eval()
        mean, log_var = self.posterior(images, labels)
        return self.reconstruction_loss(mean, images, labels) + gaussian.kl(mean, log_var).sum(dim=1)

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        samples: int = 5000,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """log p(x), in nats, estimated by importance sampling from q(z | x); (B, C, H, W) → (B,).

        A lower bound in expectation, which tightens with the samples (Burda et al. 2016, eq. 8).
        """
        self.eval()
        log_p = likelihood.decoder_log_likelihood(self, images, labels)
        return likelihood.importance_sampling(
            log_p, self._proposal(images, labels, rng), samples, len(images)
        )

    def _proposal(
        self, images: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> likelihood.Proposal:
        """Return the density that importance sampling draws from: the posterior."""
        mean, log_var = self.posterior(images, labels)

        def propose(draws: int) -> tuple[Tensor, Tensor]:
            latents = gaussian.sample(mean.expand(draws, -1, -1), log_var.expand(draws, -1, -1), rng)
            return latents, gaussian.log_density(latents, mean, log_var)

        return propose
