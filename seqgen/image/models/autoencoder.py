"""Autoencoders of images: plain, sparse (Ng 2011, "Sparse autoencoder") and denoising (Vincent et al. 2008).

One model; the three names differ in the defaults of their settings. A plain one minimises the reconstruction
loss of an image's code; `noise` above 0 has it read a noisy image and write the clean one; `sparsity` above 0
squashes the code to (0, 1) and asks each of its units to be at `rate` in the mean over a batch.

An autoencoder has no prior. To sample, codes are drawn from one Gaussian with the mean and covariance of the
training codes, followed as they change (the simplest of Ghosh et al. 2020).

Report figures, of the training batches and, as `valid_…`, of the validation split: `loss`, per image;
`reconstruction`, its part without the penalty, Σ(x - x̂)² or nats; where the code is sparse `penalty`,
Σ_j KL(ρ ‖ ρ̂_j) in nats, and `activity`, the mean of the code; `valid_active`, units of the code that tell
images apart; `grad_norm`; `lr`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from seqgen.core import optim, settings
from seqgen.functional import gaussian
from seqgen.image.data.dataset import Batch, Images
from seqgen.image.networks import pixel_losses
from seqgen.image.networks.config import Schedule
from seqgen.image.networks.networks import NetConfig, Shape, peak_lr, reader, writer

Metrics = dict[str, float]

MEMORY = 0.01
"""Share of the newest batch in the followed mean and covariance of codes."""


@dataclass(frozen=True)
class AutoencoderConfig(Schedule):
    """Settings of an autoencoder."""

    READ, PASSES = 1_000_000, (15, 200)

    net: NetConfig = field(default_factory=lambda: NetConfig(activation="silu", init="orthogonal"))
    code: int = 32
    """units of the code"""
    conditional: bool = False
    """encoder and decoder read the label"""
    likelihood: Literal["bernoulli", "squared_error"] = "squared_error"
    """what a wrong pixel costs"""
    noise: float = 0.0
    """standard deviation of the noise on what the encoder reads while it learns, clipped to [0, 1]"""
    sparsity: float = 0.0
    """weight of Σ_j KL(ρ ‖ ρ̂_j) over the units of the code; above 0 a sigmoid ends the encoder"""
    rate: float = 0.05
    """ρ, the mean that each unit of a sparse code should have"""
    lr: float | None = None
    """peak learning rate of Adam; none: by the net, 0.0025 for two layers of 512 units, 0.001 if conv"""
    lr_floor: float = 0.0
    """share of it that is left at the end of the cosine; 1 keeps it constant"""
    beta2: float = 0.99
    """decay of Adam's running mean of squared gradients"""
    epochs: int | None = None
    """passes over the training split; none: about 1,000,000 images in all, 15 to 200 passes"""
    patience: int | None = None
    """reports without a better validation loss before training stops"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            code=(1, None),
            noise=(0.0, None),
            sparsity=(0.0, None),
            rate=(1e-6, 1 - 1e-6),
            lr=(0.0, None),
            lr_floor=(0.0, 1.0),
            beta2=(0.0, 0.9999),
            patience=(1, None),
        )

    def fitted(self, images: Images) -> Self:
        """Fill in what was left to the number of images and the net."""
        return replace(super().fitted(images), lr=peak_lr(self.net, self.lr))


@dataclass(frozen=True)
class SparseAutoencoderConfig(AutoencoderConfig):
    """Settings of the sparse autoencoder."""

    code: int = 128
    """units of the code, of which few are on at a time"""
    sparsity: float = 0.1
    """weight of Σ_j KL(ρ ‖ ρ̂_j) over the units of the code; above 0 a sigmoid ends the encoder"""


@dataclass(frozen=True)
class DenoisingAutoencoderConfig(AutoencoderConfig):
    """Settings of the denoising autoencoder."""

    code: int = 64
    """units of the code"""
    noise: float = 0.3
    """standard deviation of the noise on what the encoder reads while it learns, clipped to [0, 1]"""


class Autoencoder(nn.Module):
    """An encoder to a code and a decoder from it."""

    Config = AutoencoderConfig
    monitor: str | None = "valid_loss"
    code_mean: Tensor
    """Mean of the training codes; (Z,)."""
    code_covariance: Tensor
    """Their covariance; (Z, Z)."""
    batches_seen: Tensor

    def __init__(self, config: AutoencoderConfig, *, shape: Shape, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes if config.conditional else 0
        self.encoder = reader(config.net, shape, config.code, classes=self.classes)
        self.decoder = writer(config.net, config.code, shape, classes=self.classes)
        self.register_buffer("code_mean", torch.zeros(config.code))
        self.register_buffer("code_covariance", torch.eye(config.code))
        self.register_buffer("batches_seen", torch.zeros(()))

    def configure(self) -> None:
        """Create the optimiser; call it once the module is on its device."""
        c = self.config
        optimizer = optim.adamw(self, lr=peak_lr(c.net, c.lr), betas=(0.9, c.beta2))
        self.optimizers = {"autoencoder": optimizer}

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move encoder and decoder by one batch."""
        optimizer = self.optimizers["autoencoder"]
        factor = optim.warmup_cosine(progress, warmup=0.0, floor=self.config.lr_floor)
        optim.scale_lr(optimizer, factor)
        self.train()
        codes, figures = self._measured(batch)
        norms = optim.update({optimizer: figures["loss"]})
        self._follow(codes.detach())
        shown = {name: value.detach() for name, value in figures.items()}
        return shown | {"grad_norm": norms[optimizer], "lr": optimizer.param_groups[0]["lr"]}

    def _measured(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the codes (B, Z) of a batch, and its loss with its parts."""
        c = self.config
        labels = batch.labels if self.classes else None
        codes = self._codes(self.corrupt(batch.images), labels)
        logits = self.decoder(codes, labels)
        loss = reconstruction = pixel_losses.loss(c.likelihood, logits, batch.images).mean()
        figures = {"reconstruction": reconstruction}
        if c.sparsity:
            penalty = sparsity_penalty(codes.mean(dim=0), c.rate)
            loss = reconstruction + c.sparsity * penalty
            figures |= {"penalty": penalty, "activity": codes.mean()}
        return codes, figures | {"loss": loss}

    def _codes(self, images: Tensor, labels: Tensor | None) -> Tensor:
        codes = self.encoder(images, labels)
        return torch.sigmoid(codes) if self.config.sparsity else codes

    def corrupt(self, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return images with Gaussian noise of the setting `noise`, clipped to [0, 1]; (B, C, H, W)."""
        if not self.config.noise:
            return images
        noise = torch.randn(images.shape, generator=rng, device=rng.device if rng else images.device)
        return (images + self.config.noise * noise.to(images.device)).clamp(0, 1)

    @torch.no_grad()
    def _follow(self, codes: Tensor) -> None:
        """Move the mean and covariance of codes towards those of a batch (B, Z)."""
        self.batches_seen += 1
        share = torch.clamp(1 / self.batches_seen, min=MEMORY)
        errors = codes - self.code_mean
        self.code_mean += share * errors.mean(dim=0)
        self.code_covariance.lerp_(errors.T @ errors / len(codes), share)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the loss and the use of the code on held-out images."""
        self.eval()
        sums: dict[str, float] = {}
        images, codes = 0, []
        for batch in batches:
            part, figures = self._measured(batch)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch.images)
            images += len(batch.images)
            codes.append(part)
        active = float(gaussian.active_units(torch.cat(codes)))
        return {f"valid_{name}": total / images for name, total in sums.items()} | {"valid_active": active}

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: a reconstruction has no collapse."""
        return None

    def samples(self, n: int) -> Tensor:
        """Draw n images; conditional on the labels 0, 1, 2, … in turn."""
        return self.sample(n)

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """Return the images of n codes drawn from the Gaussian of the training codes; (n, C, H, W)."""
        device = self.code_mean.device
        noise = torch.randn(n, self.config.code, generator=rng, device=rng.device if rng else device)
        codes = self.spread(noise.to(device))
        if self.classes and labels is None:
            labels = torch.arange(n, device=device) % self.classes
        return self.decode(codes, labels)

    def spread(self, normal: Tensor, *, axes: bool = True) -> Tensor:
        """Return codes of the Gaussian of the training codes from standard normal numbers; (N, Z) → (N, Z).

        Along the principal axes of their covariance, or without `axes` each unit by its own deviation.
        """
        if axes:
            # A unit that never moves leaves the covariance singular; the root of its eigenvalues is not.
            values, vectors = torch.linalg.eigh(self.code_covariance)
            moved = normal * values.clamp(min=0).sqrt() @ vectors.T
        else:
            moved = normal * self.code_covariance.diagonal().clamp(min=0).sqrt()
        codes = self.code_mean + moved
        return codes.clamp(0, 1) if self.config.sparsity else codes

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the codes of images as they are, without noise; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self._codes(images, labels if self.classes else None)

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of codes; (B, Z) → (B, C, H, W) in [0, 1]."""
        self.eval()
        return pixel_losses.means(
            self.config.likelihood, self.decoder(codes, labels if self.classes else None)
        )

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what the decoder makes of the images' codes; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is, its reconstruction loss; (B, C, H, W) → (B,)."""
        self.eval()
        given = labels if self.classes else None
        return pixel_losses.loss(
            self.config.likelihood, self.decoder(self.encode(images, labels), given), images
        )


class SparseAutoencoder(Autoencoder):
    """An autoencoder whose code is a few units out of many."""

    Config = SparseAutoencoderConfig


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that reads noisy images and writes clean ones."""

    Config = DenoisingAutoencoderConfig


def sparsity_penalty(rates: Tensor, target: float) -> Tensor:
    """Σ_j KL(Bernoulli(target) ‖ Bernoulli(rates_j)) in nats; (Z,) in [0, 1] → scalar (Ng 2011)."""
    rates = rates.clamp(1e-6, 1 - 1e-6)
    on = target * (target / rates).log()
    off = (1 - target) * ((1 - target) / (1 - rates)).log()
    return (on + off).sum()
