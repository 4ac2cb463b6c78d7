"""The policy gradient of filled blanks: a generator that is told what stands around them, and a critic.

Words are left out of real sentences, and drawn again from left to right. An encoder that reads the sentence
with its blanks both ways adds a vector to what the generator's vocabulary head reads at each position. It
starts at 0, and learns by likelihood and by the rewards of the filled words. A critic's estimate is taken off
these, and the advantages of a batch are normalised. Without blanks the generator is a language model.

Metrics of an update: those of `seqgen.algorithms.policy_gradient`, `reward` being the return at the last
blank and `nll` the sum of nats a token of the language model and nats a blank of in-filling.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms import rewards
from seqgen.algorithms.configs import TokenReaderConfig
from seqgen.algorithms.policy_gradient import PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, optim, settings
from seqgen.data.augment import mask_words
from seqgen.data.tokenizer import UNK
from seqgen.generation.infill import NO_WORDS, blank_nll, infill, read_filled
from seqgen.generation.sample import Samples
from seqgen.models.base import without_dropout
from seqgen.models.value_head import ValueHead


@dataclass(frozen=True)
class InfillPolicyConfig(PolicyGradientConfig):
    """Settings of training by policy gradient of filled blanks."""

    encoder: TokenReaderConfig = field(default_factory=TokenReaderConfig)
    mask_rate: float = 0.5
    """fraction of the words that are left out"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, mask_rate=(0.0, 1.0))


class InfillPolicy(PolicyGradient):
    """A generator, an encoder of sentences with blanks, and a critic."""

    config: InfillPolicyConfig
    infills = True
    policy_optimizers = ("generator", "encoder")
    forbidden = NO_WORDS

    def __init__(self, config: InfillPolicyConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        hidden = self.generator.head.weight.shape[1]
        self.encoder = config.encoder.build(vocab_size, config.generator, outputs=hidden)
        nn.init.zeros_(self.encoder.output.weight)
        nn.init.zeros_(self.encoder.output.bias)
        self.value = ValueHead(hidden)

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        super().configure()
        e = self.config.encoder
        self.optimizers["encoder"] = optim.adamw(self.encoder, lr=e.lr, weight_decay=e.weight_decay)
        self.optimizers["value"] = optim.adamw(self.value, lr=1e-2)

    def blanked(self, real: Tensor) -> Tensor:
        """Leave words of real sentences out: UNK stands in their places; (R, T) → (R, T)."""
        return mask_words(real, self.config.mask_rate)

    def infill(self, template: Tensor, **options: Any) -> Samples:
        """Fill the blanks, UNK, of sentences (B, T); options as of `seqgen.generation.infill.infill`."""
        return infill(self.generator, self.encoder, template, **options)

    def prepare(self, context: Tensor) -> Rollout:
        """Fill blanks of real sentences, and reward the words; the mask is where they stand."""
        real = without_unknown(context)[: distributed.part(self.config.batch_size)]
        template = self.blanked(real)
        tokens, mask = self.infill(template).tokens, template == UNK
        return Rollout(tokens, mask, self.token_rewards(tokens, mask, context))

    def read(self, rollout: Rollout) -> Tensor:
        """Return what the head reads to fill blanks: the generator's states and the encoder's; (B, T, H)."""
        template = rollout.tokens.masked_fill(rollout.mask, UNK)
        with without_dropout(self.encoder):
            return read_filled(self.generator, self.encoder, rollout.tokens, template)

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the returns less the critic's estimate, normalised (B, T), and the critic's loss."""
        values = self.value(hidden)
        loss = rewards.value_loss(values, rollout.rewards, rollout.mask)
        advantages = rewards.advantages(rollout.rewards, values.detach(), rollout.mask)
        return rewards.normalise(advantages, rollout.mask), {self.optimizers["value"]: loss}

    def nll(self, tokens: Tensor) -> Tensor:
        """Return nats a token of the language model, and nats a blank of in-filling, added; scalar."""
        return super().nll(tokens) + self.infill_nll(tokens)

    def infill_nll(self, real: Tensor) -> Tensor:
        """Leave words of sentences (B, T) out; return nats a blank of filling them in again; scalar."""
        self.encoder.train()
        return blank_nll(self.generator, self.encoder, real, self.blanked(real))
