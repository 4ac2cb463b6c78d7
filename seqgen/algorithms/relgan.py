"""RelGAN: relational memory, Gumbel-softmax and a relativistic discriminator (Nie et al. 2019, ICLR).

The generator's sentences are relaxed, with an inverse temperature β that rises from 1 to β_max, exponentially
in the progress (the paper's default). The discriminator reads a sentence in several embeddings, and its loss
compares each of them of a real sentence with that of a generated one. The paper's generator is `--set
generator.kind=relational-memory` in the pretraining that this starts from; any kind will do.

What differs from the paper, and why: unknown words are never sampled, as a discriminator would know them.

Report metrics: those of `seqgen.algorithms.relaxed_adversary`, `g_loss` being log 2 where the discriminator
knows nothing, `tau` 1 / β, and `d_accuracy` how often a real sentence is scored above a generated one.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, MultiEmbeddingConfig
from seqgen.algorithms.relaxed_adversary import RelaxedAdversary
from seqgen.core import settings
from seqgen.functional.gan_losses import GAN_LOSSES

LOSS = GAN_LOSSES["relativistic"]


@dataclass(frozen=True)
class RelGANConfig(AdversarialConfig):
    """Settings of RelGAN; the generator's come from the run it starts from."""

    discriminator: MultiEmbeddingConfig = field(default_factory=MultiEmbeddingConfig)
    discriminator_steps: int = 5
    """updates of the discriminator at each update of the generator (5 in the paper)"""
    beta_max: float = 100.0
    """inverse temperature of the relaxation at the end (100 or 1000 in the paper)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, beta_max=(1.0, None))


class RelGAN(RelaxedAdversary):
    """A generator that learns through relaxed sentences, and a relativistic discriminator."""

    Config = RelGANConfig
    config: RelGANConfig
    # The loss knows differences of scores only, and no more than linear maps follow these.
    idle_parameters = ("discriminator.output.1.bias", "discriminator.output.2.bias")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"generator.kind": "relational-memory", "generator.head_size": 5},
        {"generator.layers": 2},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def temperature(self, progress: float) -> float:
        """Return 1 / β of the relaxation at a fraction of the generator's updates."""
        return self.config.beta_max**-progress

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the relativistic loss; real ids (R, T), fake soft one-hots (F, T', V)."""
        return LOSS.generator(self.discriminator(real), self.discriminator(fake))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the relativistic loss, and how often a real sentence scores above its partner."""
        on_real, on_fake = self.discriminator(real), self.discriminator(fake)
        pairs = min(len(on_real), len(on_fake))
        above = (on_real[:pairs] > on_fake[:pairs]).float().mean()
        return LOSS.discriminator(on_real, on_fake), {"d_accuracy": above}
