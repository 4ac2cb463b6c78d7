"""Generative adversarial network (Goodfellow et al. 2014), with later losses and penalties.

What differs from the papers: generator and critic are updated at the same time, by gradients taken before
either update, which saves a forward pass of the critic; and samples come from an exponential moving average
of the generator's weights (Yazıcı et al. 2019), which changes less from step to step.

Metrics: of the training batches `d_loss`, penalties included, and `g_loss`; `score_gap`, the critic's mean
score of real images minus that of fake ones; `gradient_penalty` and `r1`, the critic's penalties before their
weights; `grad_norm`, the generator's; `lr`. Then `valid_score_gap`, the gap between held-out images and
generated ones, which falls below `score_gap` where the critic has memorised its training images, and
`diversity`, the total variance of generated images over that of held-out ones: 1 where they vary as much,
near 0 where the generator has collapsed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.core import distributed, optim, settings
from seqgen.image.data.dataset import Batch
from seqgen.image.models.base import AdversarialModel, cycle_labels
from seqgen.image.networks.adversarial import AdversarialConfig
from seqgen.image.networks.networks import NetConfig, Shape, build_decoder, build_encoder

SMALL: dict[str, Any] = {"generator.hidden": 7, "critic.hidden": 13, "latent_dim": 3}
"""Sizes of dense networks for `examples`."""


@dataclass(frozen=True)
class GANConfig(AdversarialConfig):
    """Settings of the generative adversarial network."""

    TOTAL_IMAGES, EPOCH_RANGE = 1_500_000, (15, 200)

    generator: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    latent_dim: int = 64
    """dimensions of a latent vector (Z)"""
    l1: float = 0.0
    """weight of the mean absolute difference, a pixel, from unrelated real images in the generator's loss"""
    critic_steps: int | None = None
    """updates of the critic for each of the generator; none: 5 with wasserstein, else 1"""
    epochs: int | None = None
    """epochs of training; none: about 1,500,000 images in all, 15 to 200 epochs, and half as many more for
    each further update of the critic"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, l1=(0.0, None), critic_steps=(1, None))

    @property
    def critic_updates(self) -> int:
        """Updates of the critic in a step."""
        return self.critic_steps or (5 if self.gan.loss == "wasserstein" else 1)

    @property
    def read_size(self) -> int:
        """Real images that a step reads: each update of the critic has its own."""
        return self.batch_size * self.critic_updates

    def default_epochs(self, images: int) -> int:
        """Return the epochs for so many images: more where the generator has fewer updates in each."""
        return round(super().default_epochs(images) * (1 + self.critic_updates) / 2)


class GAN(AdversarialModel):
    """A generator, its moving average, and a critic."""

    Config = GANConfig
    examples = (
        {
            "generator.kind": "conv",
            "generator.channels": 3,
            "critic.kind": "conv",
            "critic.channels": 5,
            "critic.hidden": 13,
            "latent_dim": 3,
        },
        SMALL | {"gan.loss": "least_squares", "generator.activation": "gelu", "l1": 0.05},
        SMALL | {"gan.loss": "wasserstein", "critic_steps": 2},
        {
            "gan.loss": "hinge",
            "gan.r1": 1.0,
            "generator.kind": "conv",
            "generator.channels": 3,
            "critic.hidden": 13,
            "conditional": True,
            "latent_dim": 3,
        },
        SMALL | {"gan.loss": "energy", "critic.normalise": "layer"},
    )
    idle_parameters = ("critic.head.bias",)  # cancels from the hinge loss near 0 and the Wasserstein loss

    def __init__(self, config: GANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.generator = build_decoder(config.generator, config.latent_dim, shape, classes=self.classes)
        self.critic = build_encoder(config.critic, shape, 1, classes=self.classes)
        self._start_ema()

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, gan = self.config, self.config.gan
        self.optimizers = {
            "generator": gan.build_optimizer((self.generator, c.generator, gan.lr)),
            "critic": gan.build_optimizer((self.critic, c.critic, gan.critic_lr)),
        }

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the critic on each part of the batch, and on the last part the generator, too."""
        *first, last = self._parts(batch)
        self.train()
        self.set_learning_rates(progress)
        for real in first:
            with torch.no_grad():
                fake = self._generate(real.labels)
            loss, *_ = self._critic_loss(real, fake)
            optim.update({self.optimizers["critic"]: loss})
        return super().step(last, progress)

    def _parts(self, batch: Batch) -> list[Batch]:
        """Divide a batch into one of `batch_size` images for each update of the critic.

        Where the data hold fewer images than a step reads, the parts overlap: there are as many as otherwise,
        and none has so few images that their mean and variance mean nothing.
        """
        size, parts = distributed.part(self.config.batch_size), self.config.critic_updates
        size = min(size, len(batch.images))
        if len(batch.images) == size * parts:
            return [Batch(*part) for part in zip(*(x.split(size) for x in batch), strict=True)]
        rows = torch.arange(size * parts, device=batch.images.device) % len(batch.images)
        return [Batch(*(x[part] for x in batch)) for part in rows.split(size)]

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], StepMetrics]:
        """Return the losses by the names of their optimisers, and metrics."""
        c = self.config
        fake = self._generate(batch.labels)
        d_loss, scores, metrics = self._critic_loss(batch, fake)
        g_loss = c.gan.generator_loss(*scores)
        if c.l1:
            g_loss = g_loss + c.l1 * (fake - batch.images).abs().mean()
        losses = {"critic": d_loss, "generator": g_loss}
        return losses, {**metrics, "g_loss": g_loss.detach()}

    def _generate(self, labels: Tensor) -> Tensor:
        """Generate an image of each label, with gradient; (B,) → (B, C, H, W)."""
        latents = distributed.randn(len(labels), self.config.latent_dim, device=labels.device)
        return torch.sigmoid(self.generator(latents, self.network_labels(labels)))

    def _scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.critic(images, self.network_labels(labels))[:, 0]

    def _critic_loss(
        self, real: Batch, fake: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Return the critic's loss, its scores of real and fake images, (B,) each, and metrics."""
        c = self.config

        def critic(images: Tensor) -> Tensor:
            return self._scores(images, real.labels)

        scores = critic(real.images), critic(fake)
        loss, metrics = c.gan.penalised_critic_loss(c.critic, critic, scores, real.images, fake)
        return loss, scores, metrics

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the critic on held-out images, and the diversity of generated ones."""
        self.eval()
        held_out = [(batch.images, self._scores(*batch)) for batch in batches]
        images, scores = (torch.cat(parts) for parts in zip(*held_out, strict=True))
        generated = self.sample_to_measure(images)
        labels = cycle_labels(len(generated), self.drawn_labels, generated.device)
        gap = float(scores.mean() - self._scores(generated, labels).mean())
        return {"valid_score_gap": gap, **self.measure_diversity(generated, images)}

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the anomaly score of images, the critic's score negated; (B, C, H, W) → (B,)."""
        self.eval()
        return -self._scores(images, labels)
