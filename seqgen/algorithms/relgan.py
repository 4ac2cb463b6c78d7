"""RelGAN: relational memory, Gumbel-softmax and a relativistic discriminator (Nie et al. 2019, ICLR).

The generator's sentences are relaxed, soft one-hots whose gradient comes from the discriminator itself:
there is no reward. The inverse temperature β rises from 1 to β_max, exponentially in the progress (the
paper's default). The discriminator reads a sentence in several embeddings, and its loss compares each of them
of a real sentence with that of a generated one. The paper's generator is `--set
generator.kind=relational-memory` in the pretraining that this starts from; any kind will do.

What differs from the paper, and why: unknown words are never sampled, as a discriminator would know them.

Report metrics: `g_loss`, the generator's relativistic loss, log 2 where the discriminator knows nothing;
`beta`; `grad_norm` of the generator before clipping; of the discriminator's batches `d_loss` and
`d_accuracy`, how often a real sentence is scored above a generated one; and the rest of
`seqgen.algorithms.adversary`.
"""

from dataclasses import dataclass, field

from torch import Tensor

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, MultiEmbeddingConfig
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import optim, settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import GAN_LOSSES
from seqgen.generation.gumbel_softmax import sample_relaxed

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


class RelGAN(Adversary):
    """A generator that learns through relaxed sentences, and a relativistic discriminator."""

    Config = RelGANConfig
    config: RelGANConfig
    # The loss knows differences of scores only, and no more than linear maps follow these.
    idle_parameters = ("discriminator.output.1.bias", "discriminator.output.2.bias")
    examples = (
        {"generator.kind": "relational-memory", "generator.head_size": 5},
        {"generator.layers": 2},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator by relaxed sentences that the discriminator compares with real ones."""
        c, optimizer = self.config, self.optimizers["generator"]
        beta = c.beta_max**progress
        with self.generator.without_dropout():
            relaxed = sample_relaxed(
                self.generator, len(real), self.length, temperature=1 / beta, forbid=(UNK,)
            )
        self.discriminator.eval()
        on_real = self.discriminator(without_unknown(real.tokens))
        loss = LOSS.generator(on_real, self.discriminator(relaxed.soft))
        norms = optim.update({optimizer: loss}, clip=c.clip)
        return {"g_loss": loss.detach(), "beta": beta, "grad_norm": norms[optimizer]}

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the relativistic loss, and how often a real sentence scores above its partner."""
        on_real, on_fake = self.discriminator(real), self.discriminator(fake)
        pairs = min(len(on_real), len(on_fake))
        above = (on_real[:pairs] > on_fake[:pairs]).float().mean()
        return LOSS.discriminator(on_real, on_fake), {"d_accuracy": above}
