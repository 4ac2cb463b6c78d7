"""Autoencoders of images: plain, sparse (Ng 2011, "Sparse autoencoder") and denoising (Vincent et al. 2008).

One model; the three names differ in their settings. A plain autoencoder minimises the reconstruction loss.
With `noise_std` above 0 the encoder gets a noisy image and the decoder must reconstruct the clean one. With
`sparsity_weight` above 0 a sigmoid maps the latent to (0, 1), and a penalty pulls the mean of each dimension
over a batch to `sparsity_target`.

An autoencoder has no prior. To sample, latents are drawn from a Gaussian with the mean and covariance of the
training latents, running estimates of which are kept (the simplest of Ghosh et al. 2020).

Metrics, of the training batches and, as `valid_…`, of the validation split: `loss`, per image;
`reconstruction`, its part without the penalty, Σ(x - x̂)² or nats; where the latent is sparse
`sparsity_penalty`, Σ_j KL(ρ ‖ ρ̂_j) in nats, and `activity`, the mean of the latent. Then `active_units`, how
many latent dimensions differ between validation images; `grad_norm`; `lr`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import distributed, settings
from seqgen.functional import gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import EncoderDecoderModel, mean_metrics
from seqgen.image.networks.config import EncoderDecoderConfig
from seqgen.image.networks.networks import Shape, build_decoder, build_encoder

MIN_UPDATE_WEIGHT = 0.01
"""Weight of a batch in the running mean and covariance of latents, after the first 100 batches."""


@dataclass(frozen=True)
class AutoencoderConfig(EncoderDecoderConfig):
    """Settings of an autoencoder."""

    TOTAL_IMAGES, EPOCH_RANGE = 1_000_000, (15, 200)

    likelihood: Literal["bernoulli", "squared_error"] = "squared_error"
    """the reconstruction loss of a pixel"""
    noise_std: float = 0.0
    """standard deviation of the noise on the encoder's input in training; the sum is clipped to [0, 1]"""
    sparsity_weight: float = 0.0
    """weight of Σ_j KL(ρ ‖ ρ̂_j) over the latent dimensions; above 0 a sigmoid ends the encoder"""
    sparsity_target: float = 0.05
    """ρ, the mean that each dimension of a sparse latent should have"""
    epochs: int | None = None
    """epochs of training; none: about 1,000,000 images in all, 15 to 200 epochs"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            noise_std=(0.0, None),
            sparsity_weight=(0.0, None),
            sparsity_target=(1e-6, 1 - 1e-6),
        )


class Autoencoder(EncoderDecoderModel):
    """An encoder to a latent and a decoder from it."""

    Config = AutoencoderConfig
    examples = (
        {"net.hidden": 7, "latent_dim": 3},
        {"net.kind": "conv", "net.hidden": 7, "net.channels": 3, "latent_dim": 3, "conditional": True},
        {"net.hidden": 7, "latent_dim": 5, "sparsity_weight": 0.1, "likelihood": "bernoulli"},
        {"net.hidden": 7, "latent_dim": 3, "noise_std": 0.3},
        {"net.kind": "parallel", "net.hidden": 7, "net.widths": "11,5", "net.channels": 3, "latent_dim": 3},
        {"net.kind": "conv", "net.widths": "11,7", "net.channels": 3, "latent_dim": 3, "conditional": True},
    )
    latent_mean: Tensor
    """Running mean of the training latents; (Z,)."""
    latent_covariance: Tensor
    """Running covariance of them; (Z, Z)."""
    batches_seen: Tensor
    """Batches in these; scalar."""

    def __init__(self, config: AutoencoderConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.encoder = build_encoder(config.net, shape, config.latent_dim, classes=self.classes)
        self.decoder = build_decoder(config.net.mirrored(), config.latent_dim, shape, classes=self.classes)
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_covariance", torch.eye(config.latent_dim))
        self.register_buffer("batches_seen", torch.zeros(()))

    def training_loss(self, batch: Batch, progress: float) -> tuple[Tensor, StepMetrics]:
        """Return the loss of a batch, and its parts; the running moments take up the latents."""
        latents, losses = self._losses(batch)
        self._update_moments(latents.detach())
        return losses["loss"], {name: value.detach() for name, value in losses.items()}

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the latents (B, Z) of a batch, and its loss with its parts."""
        c = self.config
        latents = self._latents(self.corrupt(batch.images), batch.labels)
        loss = reconstruction = self.reconstruction_loss(latents, batch.images, batch.labels).mean()
        metrics = {"reconstruction": reconstruction}
        if c.sparsity_weight:
            penalty = sparsity_penalty(distributed.mean(latents.mean(dim=0)), c.sparsity_target)
            loss = reconstruction + c.sparsity_weight * penalty
            metrics |= {"sparsity_penalty": penalty, "activity": latents.mean()}
        return latents, metrics | {"loss": loss}

    def _latents(self, images: Tensor, labels: Tensor | None) -> Tensor:
        latents = self.encoder(images, self.network_labels(labels))
        return torch.sigmoid(latents) if self.config.sparsity_weight else latents

    def corrupt(self, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return images with Gaussian noise of `noise_std`, clipped to [0, 1]; (B, C, H, W)."""
        if not self.config.noise_std:
            return images
        noise = distributed.randn(*images.shape, generator=rng, device=rng.device if rng else images.device)
        return (images + self.config.noise_std * noise.to(images.device)).clamp(0, 1)

    @torch.no_grad()
    def _update_moments(self, latents: Tensor) -> None:
        """Update the running mean and covariance of latents by those of a batch (B, Z)."""
        self.batches_seen += 1
        weight = torch.clamp(1 / self.batches_seen, min=MIN_UPDATE_WEIGHT)
        errors = latents - self.latent_mean
        self.latent_mean += weight * distributed.mean(errors.mean(dim=0))
        self.latent_covariance.lerp_(distributed.mean(errors.T @ errors / len(latents)), weight)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the loss and the use of the latent on held-out images."""
        self.eval()
        measured, latents = [], []
        for batch in batches:
            batch_latents, metrics = self._losses(batch)
            measured.append((len(batch.images), metrics))
            latents.append(batch_latents)
        valid = {f"valid_{name}": value for name, value in mean_metrics(measured).items()}
        return valid | {"active_units": float(gaussian.active_units(torch.cat(latents)))}

    def prior(self, noise: Tensor, *, correlated: bool = True) -> Tensor:
        """Return latents of the Gaussian of the training latents from standard normal noise; (N, Z) → (N, Z).

        correlated: with their covariance; otherwise with their variances alone.
        """
        if correlated:
            # A dimension that never varies makes the covariance singular: its Cholesky factor does not exist.
            values, vectors = torch.linalg.eigh(self.latent_covariance)
            deviations = noise * values.clamp(min=0).sqrt() @ vectors.T
        else:
            deviations = noise * self.latent_covariance.diagonal().clamp(min=0).sqrt()
        latents = self.latent_mean + deviations
        return latents.clamp(0, 1) if self.config.sparsity_weight else latents

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the latents of images, without noise; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self._latents(images, labels)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score of images, the reconstruction loss; (B, C, H, W) → (B,)."""
        return self.reconstruction_loss(self.encode(images, labels), images, labels)


def sparsity_penalty(means: Tensor, target: float) -> Tensor:
    """Σ_j KL(Bernoulli(target) ‖ Bernoulli(means_j)) in nats; (Z,) in [0, 1] → scalar (Ng 2011)."""
    means = means.clamp(1e-6, 1 - 1e-6)
    on = target * (target / means).log()
    off = (1 - target) * ((1 - target) / (1 - means)).log()
    return (on + off).sum()
