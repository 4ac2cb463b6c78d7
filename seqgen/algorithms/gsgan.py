"""GSGAN: a GAN of relaxed sentences (Kusner & Hernández-Lobato 2016, arXiv:1611.04051).

The plain GAN of recurrent networks: the generator's tokens are draws from the Gumbel-softmax distribution,
which the recurrent discriminator reads as they are, and whose temperature falls during training.

What differs from the paper, and why: training starts from a pretrained generator, so the temperature starts
at 1, where a soft token is still near the drawn one; the generator's loss does not saturate (Goodfellow et
al. 2014, section 3); unknown words are never sampled; and the discriminator learns from drawn sentences,
which are as hard as real ones, because of soft ones it would learn to tell nothing but the softness.

Report metrics: those of `seqgen.algorithms.relaxed_adversary`, `g_loss` being log 2 where the discriminator
knows nothing.
"""

from dataclasses import dataclass, field

from seqgen.algorithms.configs import AdversarialConfig, DiscriminatorConfig
from seqgen.algorithms.relaxed_adversary import RelaxedAdversary
from seqgen.core import settings
from seqgen.generation.gumbel_softmax import annealed


@dataclass(frozen=True)
class GSGANConfig(AdversarialConfig):
    """Settings of GSGAN; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    tau: float = 1.0
    """temperature of the relaxation at the start"""
    tau_end: float = 0.5
    """temperature of the relaxation at the end"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, tau=(1e-3, None), tau_end=(1e-3, None))


class GSGAN(RelaxedAdversary):
    """A generator that learns through relaxed sentences, and a discriminator that reads them."""

    Config = GSGANConfig
    config: GSGANConfig
    examples = (
        {},
        {"discriminator.kind": "rnn", "generator.layers": 2, "discriminator.loss": "least_squares"},
        {"discriminator.kind": "cnn", "discriminator.filters": 0.02},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def temperature(self, progress: float) -> float:
        """Return the relaxation's temperature, which falls by the same factor in equal times."""
        return annealed(progress, start=self.config.tau, end=self.config.tau_end)
