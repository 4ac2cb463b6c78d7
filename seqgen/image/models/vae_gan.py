"""VAE-GAN (Larsen et al. 2016, arXiv:1512.09300): a VAE with a reconstruction loss of the critic's features.

The encoder minimises the KL divergence and the distance of the critic's features of a reconstruction from
those of the image (eq. 8), the decoder that distance and the GAN loss of reconstructions and of samples of
the prior, the critic the GAN loss alone; no loss reaches another's network.

What differs from the paper, and why: half of the fake images are reconstructions and half samples of the
prior, so that an untrained critic is in equilibrium at a score of 0; the squared error of pixels can be added
to the distance of features; samples come from a moving average of the decoder's weights.

Metrics: of the training batches `d_loss`, `score_gap`, `gradient_penalty` and `r1` as for `gan`; `kl`, KL(q(z
| x) ‖ p(z)) in nats an image; `feature_distance`, half the squared distance between the features of image and
reconstruction; `squared_error`, Σ(x - x̂)² of a reconstruction; `g_loss`, the decoder's loss; `grad_norm`,
the decoder's; `lr`. Then, on held-out images, `valid_kl`, `valid_squared_error` and `diversity` as for `gan`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import distributed, settings
from seqgen.functional import gan_losses, gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import AdversarialModel
from seqgen.image.networks.adversarial import AdversarialConfig
from seqgen.image.networks.networks import NetConfig, Shape, build_decoder, build_encoder
from seqgen.image.networks.pixel_losses import squared_error

SMALL: dict[str, Any] = {"encoder.hidden": 7, "decoder.hidden": 7, "critic.hidden": 7, "latent_dim": 3}
"""Sizes of dense networks for `examples`."""


@dataclass(frozen=True)
class VAEGANConfig(AdversarialConfig):
    """Settings of the VAE-GAN."""

    TOTAL_IMAGES, EPOCH_RANGE = 900_000, (10, 80)

    encoder: NetConfig = field(default_factory=NetConfig)
    decoder: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    encoder_lr: float | None = None
    """initial learning rate of the encoder; none: gan.lr"""
    beta: float = 1.0
    """weight of the KL divergence in the encoder's loss"""
    feature_weight: float = 1.0
    """weight of the distance of features in the reconstruction loss"""
    pixel_weight: float = 0.0
    """weight of half the squared error of pixels in the reconstruction loss"""
    gamma: float = 0.01
    """weight of the reconstruction loss in the decoder's loss, beside the GAN loss (γ in the paper)"""
    epochs: int | None = None
    """epochs of training; none: about 900,000 images in all, 10 to 80 epochs"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            encoder_lr=(0.0, None),
            beta=(0.0, None),
            feature_weight=(0.0, None),
            pixel_weight=(0.0, None),
            gamma=(0.0, None),
        )


class VAEGAN(AdversarialModel):
    """An encoder to a diagonal Gaussian over latents, a decoder, moving averages of both, and a critic."""

    Config = VAEGANConfig
    examples = (
        {
            "encoder.kind": "conv",
            "encoder.channels": 3,
            "decoder.kind": "conv",
            "decoder.channels": 3,
            "critic.kind": "conv",
            "critic.channels": 3,
            "critic.hidden": 7,
            "latent_dim": 3,
        },
        SMALL
        | {"gan.loss": "least_squares", "pixel_weight": 1.0, "gan.optimizer": "sgd", "encoder_lr": 0.5}
        | {"decoder.normalise": "layer"},
        SMALL | {"gan.loss": "wasserstein", "conditional": True},
        SMALL | {"gan.loss": "hinge", "gan.r1": 1.0, "feature_weight": 0.0, "pixel_weight": 0.5},
    )
    idle_parameters = ("critic.head.bias",)  # cancels from the hinge loss near 0 and the Wasserstein loss
    averaged = ("encoder", "decoder")
    main_optimizer = "decoder"

    def __init__(self, config: VAEGANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.encoder = build_encoder(config.encoder, shape, 2 * config.latent_dim, classes=self.classes)
        self.decoder = build_decoder(config.decoder, config.latent_dim, shape, classes=self.classes)
        self.critic = build_encoder(config.critic, shape, 1, classes=self.classes)
        self._start_ema()

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, gan = self.config, self.config.gan
        encoder_lr = gan.lr if c.encoder_lr is None else c.encoder_lr
        self.optimizers = {
            "encoder": gan.build_optimizer((self.encoder, c.encoder, encoder_lr)),
            "decoder": gan.build_optimizer((self.decoder, c.decoder, gan.lr)),
            "critic": gan.build_optimizer((self.critic, c.critic, gan.critic_lr)),
        }

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], StepMetrics]:
        """Return the loss of each network by its name, and metrics."""
        c, images = self.config, batch.images
        labels = self.network_labels(batch.labels)
        mean, log_var = self.encoder(images, labels).chunk(2, dim=1)
        reconstructions, generated = self._decode_pairs(mean, log_var, labels)
        features = [self.critic.features(x, labels) for x in (images, reconstructions, generated)]
        real_scores, *fake = (self.critic.head(each)[:, 0] for each in features)
        scores = real_scores, torch.cat(fake)
        kl = gaussian.kl(mean, log_var).sum(dim=1).mean()
        distance = gan_losses.feature_distance(features[1], features[0])
        error = squared_error(images, reconstructions).mean()
        reconstruction = c.feature_weight * distance + c.pixel_weight * error / 2
        d_loss, critic_metrics = c.gan.penalised_critic_loss(
            c.critic, lambda x: self.critic(x, labels)[:, 0], scores, images, reconstructions, generated
        )
        losses = {
            "encoder": c.beta * kl + reconstruction,
            "decoder": c.gamma * reconstruction + c.gan.generator_loss(*scores),
            "critic": d_loss,
        }
        metrics: StepMetrics = {
            **critic_metrics,
            "g_loss": losses["decoder"].detach(),
            "kl": kl.detach(),
            "feature_distance": distance.detach(),
            "squared_error": error.detach(),
        }
        return losses, metrics

    def _decode_pairs(self, mean: Tensor, log_var: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return reconstructions of a draw of the posterior, and samples of the prior; (B, C, H, W) each."""
        # One batch, so that where the decoder has batch normalisation both have the same mean and variance.
        latents = torch.cat(
            [gaussian.sample(mean, log_var), distributed.randn(*mean.shape, device=mean.device)]
        )
        both_labels = None if labels is None else labels.repeat(2)
        reconstructions, generated = torch.sigmoid(self.decoder(latents, both_labels)).chunk(2)
        return reconstructions, generated

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure latents and reconstructions of held-out images, and the diversity of generated ones."""
        held_out, kls, errors = [], [], []
        for batch in batches:
            mean, log_var = self.posterior(batch.images, batch.labels)
            held_out.append(batch.images)
            kls.append(gaussian.kl(mean, log_var).sum(dim=1))
            errors.append(squared_error(batch.images, self.decode(mean, batch.labels)))
        images = torch.cat(held_out)
        return {
            "valid_kl": float(torch.cat(kls).mean()),
            "valid_squared_error": float(torch.cat(errors).mean()),
            **self.measure_diversity(self.sample_to_measure(images), images),
        }

    @torch.no_grad()
    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return q(z | x) of the EMA encoder: mean and log-variance; (B, C, H, W) → (B, Z), (B, Z)."""
        self.eval()
        mean, log_var = self.ema["encoder"](images, self.network_labels(labels)).chunk(2, dim=1)
        return mean, log_var

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the posterior means; (B, C, H, W) → (B, Z)."""
        return self.posterior(images, labels)[0]

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score, the squared error of the reconstruction; (B, C, H, W) → (B,)."""
        return squared_error(images, self.reconstruct(images, labels))
