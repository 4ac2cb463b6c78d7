"""AEGAN: an encoder and a generator trained to invert each other, with a critic of images and one of latents.

The generator generates images x̂ = G(z) of latents z of the prior, the encoder latents ẑ = E(x) of images;
there are two cycles, x' = G(E(x)) and z' = E(G(z)). One critic has to tell images from x̂ and x', the other
latents of the prior from ẑ and z' (Lazarou 2020, arXiv:2004.05472). Beside the paper's losses there are
gradient penalties of both critics, a choice of GAN losses (`seqgen.functional.gan_losses`), and the
generator's Dirichlet energy ½ E‖∂G/∂z‖², which favours a smooth generator. Every loss has a weight, and 0
switches it off.

Encoder and generator share one loss and one optimiser; each critic has its own.

Metrics: of the training batches, of images and of latents, each critic's `d_loss_…`, penalties included, and
its `score_gap_…` between real and fake samples; `image_cycle`, Σ(x - x')² of an image; `latent_cycle`, Σ(z -
z')² of a latent; `dirichlet`, the energy; `g_loss`, the loss of encoder and generator; `grad_norm`, theirs;
`lr`. Then, on held-out images, `valid_squared_error`, the Σ(x - x')² of the EMA networks; `latent_variance`,
the mean variance of a dimension of their latents, 1 under the prior; and `diversity` as for `gan`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import distributed, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import AdversarialModel
from seqgen.image.networks.adversarial import AdversarialConfig, GANLossConfig
from seqgen.image.networks.networks import NetConfig, Shape, build_decoder, build_encoder
from seqgen.image.networks.pixel_losses import squared_error

WEIGHTS = ("image_gan", "latent_gan", "image_cycle", "latent_cycle", "dirichlet")

SMALL: dict[str, Any] = {
    "encoder.hidden": 7,
    "generator.hidden": 7,
    "critic.hidden": 7,
    "latent_critic.hidden": 13,
    "latent_dim": 3,
}
"""Sizes of dense networks for `examples`."""


@dataclass(frozen=True)
class ImageAEGANConfig(AdversarialConfig):
    """Settings of the AEGAN of images."""

    TOTAL_IMAGES, EPOCH_RANGE = 1_000_000, (10, 80)

    encoder: NetConfig = field(default_factory=NetConfig)
    generator: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    latent_critic: NetConfig = field(
        default_factory=lambda: NetConfig(
            kind="dense", hidden=128, layers=2, channels=32, activation="leaky_relu"
        )
    )
    gan: GANLossConfig = field(default_factory=lambda: GANLossConfig(r1=0.2))
    encoder_lr: float | None = None
    """initial learning rate of the encoder; none: that of the generator"""
    image_gan: float = 1.0
    """weight of the GAN loss of images"""
    latent_gan: float = 1.0
    """weight of the GAN loss of latents"""
    image_cycle: float = 0.02
    """weight of ½ Σ(x - x')² of an image"""
    latent_cycle: float = 0.02
    """weight of ½ Σ(z - z')² of a latent"""
    dirichlet: float = 1e-4
    """weight of the generator's Dirichlet energy"""
    epochs: int | None = None
    """epochs of training; none: about 1,000,000 images in all, 10 to 80 epochs"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gan.check(self.latent_critic)
        if not any(getattr(self, name) for name in WEIGHTS):
            raise UserError(f"every loss is off; give one of {', '.join(WEIGHTS)} a weight")
        limits = {name: (0.0, None) for name in WEIGHTS}
        settings.bounds(self, encoder_lr=(0.0, None), **limits)


class ImageAEGAN(AdversarialModel):
    """An encoder, a generator, the moving averages of both, a critic of images and one of latents."""

    Config = ImageAEGANConfig
    examples = (
        {
            "encoder.kind": "conv",
            "encoder.channels": 3,
            "generator.kind": "conv",
            "generator.channels": 3,
            "critic.kind": "conv",
            "critic.channels": 3,
            "critic.hidden": 7,
            "latent_critic.hidden": 13,
            "latent_dim": 3,
        },
        SMALL | {"gan.loss": "energy", "gan.gradient_penalty": 1.0},
        SMALL | {"gan.loss": "wasserstein", "conditional": True},
        SMALL | {"gan.loss": "hinge", "gan.r1": 1.0, "dirichlet": 0.0},
    )
    # They cancel from the hinge loss near 0 and the Wasserstein loss.
    idle_parameters = ("critic.head.bias", "latent_critic.head.bias")
    averaged = ("encoder", "generator")
    main_optimizer = "autoencoder"

    def __init__(self, config: ImageAEGANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.encoder = build_encoder(config.encoder, shape, config.latent_dim, classes=self.classes)
        self.generator = build_decoder(config.generator, config.latent_dim, shape, classes=self.classes)
        self.critic = build_encoder(config.critic, shape, 1, classes=self.classes)
        row = (1, 1, config.latent_dim)  # a latent is encoded as an image of one row
        self.latent_critic = build_encoder(config.latent_critic, row, 1, classes=self.classes)
        self._start_ema()

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, gan = self.config, self.config.gan
        networks: list[tuple[nn.Module, NetConfig, float | None]]
        networks = [(nn.ModuleList([self.encoder, self.generator]), c.generator, gan.lr)]
        if c.encoder_lr is not None:
            networks = [(self.generator, c.generator, gan.lr), (self.encoder, c.encoder, c.encoder_lr)]
        self.optimizers = {
            "autoencoder": gan.build_optimizer(*networks),
            "critic": gan.build_optimizer((self.critic, c.critic, gan.critic_lr)),
            "latent_critic": gan.build_optimizer((self.latent_critic, c.latent_critic, gan.critic_lr)),
        }

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], StepMetrics]:
        """Return the losses by the names of their optimisers, and metrics."""
        c, labels = self.config, self.network_labels(batch.labels)
        images = batch.images
        latents = distributed.randn(len(images), c.latent_dim, device=images.device)
        encoded = self.encoder(images, labels)
        both_labels = None if labels is None else labels.repeat(2)
        # One batch, so that batch normalisation treats both alike.
        generated, reconstructed = self._generate(torch.cat((latents, encoded)), both_labels).chunk(2)
        encoded_again = self.encoder(generated, labels)
        total, metrics = self._cycle_losses((images, reconstructed), (latents, encoded_again))
        if c.dirichlet:
            energy = gan_losses.dirichlet_energy(lambda z: self._generate(z, labels), latents)
            total = total + c.dirichlet * energy
            metrics["dirichlet"] = energy.detach()
        losses = {}
        if c.image_gan:
            losses["critic"], g_loss, of_images = self._gan_losses(
                "images", lambda x: self.critic(x, labels)[:, 0], c.critic, images, generated, reconstructed
            )
            total = total + c.image_gan * g_loss
            metrics |= of_images
        if c.latent_gan:
            losses["latent_critic"], g_loss, of_latents = self._gan_losses(
                "latents",
                lambda z: self._latent_scores(z, labels),
                c.latent_critic,
                latents,
                encoded,
                encoded_again,
            )
            total = total + c.latent_gan * g_loss
            metrics |= of_latents
        return {"autoencoder": total, **losses}, metrics | {"g_loss": total.detach()}

    def _cycle_losses(
        self, images: tuple[Tensor, Tensor], latents: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, StepMetrics]:
        """Return the weighted loss of both cycles, given the start and the end of each, and metrics."""
        image_cycle, latent_cycle = (
            gan_losses.feature_distance(end.flatten(1), start.flatten(1)) for start, end in (images, latents)
        )
        loss = self.config.image_cycle * image_cycle + self.config.latent_cycle * latent_cycle
        return loss, {"image_cycle": 2 * image_cycle.detach(), "latent_cycle": 2 * latent_cycle.detach()}

    def _gan_losses(
        self, name: str, critic: Callable[[Tensor], Tensor], net: NetConfig, real: Tensor, *fakes: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return a critic's loss, the GAN loss of encoder and generator, and metrics."""
        gan = self.config.gan
        scores = critic(real), torch.cat([critic(fake) for fake in fakes])
        loss, metrics = gan.penalised_critic_loss(net, critic, scores, real, *fakes)
        named = {f"{key}_{name}": metrics[key] for key in ("d_loss", "score_gap")}
        return loss, gan.generator_loss(*scores), named

    def _generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return torch.sigmoid(self.generator(latents, labels))

    def _latent_scores(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.latent_critic(latents[:, None, None], labels)[:, 0]

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the cycle of held-out images, their latents, and the diversity of generated images."""
        held_out, latents, errors = [], [], []
        for batch in batches:
            encoded = self.encode(batch.images, batch.labels)
            held_out.append(batch.images)
            latents.append(encoded)
            errors.append(squared_error(batch.images, self.decode(encoded, batch.labels)))
        images = torch.cat(held_out)
        return {
            "valid_squared_error": float(torch.cat(errors).mean()),
            "latent_variance": float(torch.cat(latents).var(dim=0, unbiased=False).mean()),
            **self.measure_diversity(self.sample_to_measure(images), images),
        }

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the latents of images by the EMA encoder; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self.ema["encoder"](images, self.network_labels(labels))

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score, the Σ(x - x')² of the cycle; (B, C, H, W) → (B,)."""
        return squared_error(images, self.reconstruct(images, labels))
