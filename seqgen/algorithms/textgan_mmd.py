"""TextGAN: adversarial feature matching (Zhang et al. 2017, arXiv:1706.03850; Texygen's TextGAN-MMD).

The generator minimises the squared maximum mean discrepancy of the discriminator's features of generated and
real sentences. The discriminator, a CNN, tells real from generated sentences, and maximises that discrepancy.

What differs from the paper, and why: a sentence's noise is the Gumbel noise of its tokens, as the generator
that it starts from has no latent vector, and there is none to be reconstructed by the discriminator; one-hots
with the gradient of soft ones (straight-through) stand for a soft-argmax that is nearly one; the widths of
the kernels follow the features' scale; the filters are of SeqGAN's CNN; unknown words are never sampled.

Report metrics: those of `seqgen.algorithms.relaxed_adversary`, `g_loss` being the squared discrepancy of the
features, and `d_mmd`, the same of the discriminator's batches.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig
from seqgen.algorithms.relaxed_adversary import RelaxedAdversary
from seqgen.core import settings
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.functional.mmd import squared_mmd
from seqgen.models.base import GeneratorConfig
from seqgen.models.discriminator import CNNDiscriminator


@dataclass(frozen=True)
class FeaturesConfig:
    """The convolutional discriminator whose features are matched, and its training."""

    embedding: int = 64
    """size of a token's embedding"""
    filters: float = 0.25
    """multiplies the number of filters in SeqGAN's paper; as many features: 430"""
    dropout: float = 0.25
    """fraction of the features dropped in telling real from generated"""
    mmd_weight: float = 0.1
    """weight of the discrepancy that it maximises beside that (0.1 in Texygen)"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.0
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            embedding=(1, None),
            filters=(0.01, None),
            dropout=(0.0, 0.99),
            mmd_weight=(0.0, None),
            lr=(0.0, None),
            weight_decay=(0.0, None),
        )

    def build(self, vocab_size: int, generator: GeneratorConfig) -> nn.Module:
        """Return a fresh discriminator."""
        return CNNDiscriminator(vocab_size, self.embedding, scale=self.filters, dropout=self.dropout)


@dataclass(frozen=True)
class TextGANConfig(AdversarialConfig):
    """Settings of TextGAN; the generator's come from the run it starts from."""

    discriminator: FeaturesConfig = field(default_factory=FeaturesConfig)
    tau: float = 1.0
    """temperature of the soft tokens through which the gradient flows"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, tau=(1e-3, None))


class TextGAN(RelaxedAdversary):
    """A generator that matches the features of real sentences, and the discriminator that has them."""

    Config = TextGANConfig
    config: TextGANConfig
    hard = True
    examples = ({"discriminator.filters": 0.02}, {"discriminator.filters": 0.02, "generator.layers": 2})

    def temperature(self, progress: float) -> float:
        """Return the relaxation's temperature, which stays."""
        return self.config.tau

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the squared discrepancy of features; real ids (R, T), fake one-hots (F, T', V)."""
        return squared_mmd(self.discriminator.features(real), self.discriminator.features(fake))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the cross entropy less the weighted discrepancy; real (R, T), fake (F, T')."""
        features = [self.discriminator.features(tokens) for tokens in (real, fake)]
        on_real, on_fake = (self.discriminator.score(each) for each in features)
        mmd = squared_mmd(*features)
        loss = cross_entropy(on_real, on_fake) - self.config.discriminator.mmd_weight * mmd
        return loss, {"d_accuracy": accuracy(on_real, on_fake), "d_mmd": mmd.detach()}
