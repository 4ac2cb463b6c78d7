"""MaskGAN: words are left out of real sentences, and filled in again (Fedus et al. 2018, arXiv:1801.07736).

A generator that knows the sentence with its blanks m(x) fills them from left to right; a discriminator that
knows m(x) as well says of each filled word whether it is real, r = log D. A word's return is the discounted
sum of the rewards of the blanks from it on, less a critic's estimate (the paper's actor-critic training).

What differs from the paper, and why: the generator is that of the run that this starts from, without m(x) a
language model and, as in the paper at a mask rate of 1, what is sampled, evaluated and continued from a
prompt. An encoder that reads m(x) both ways adds a vector to what its vocabulary head reads at each position,
in place of attention, as blanks and words stand at equal positions; it starts at 0 and learns by likelihood
while the discriminator is pretrained. Teacher forcing, of language model and blanks, stands beside the
rewards, which are normalised. Ends of sentences are never blanks.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the return at the last blank and
`nll` the sum of nats a token of the language model and nats a blank of in-filling; `infill_nll`, nats a
blank, while the discriminator is pretrained; those of `seqgen.algorithms.adversary`, `d_loss` and
`d_accuracy` being means over blanks.
"""

from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms import rewards
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, TokenReaderConfig
from seqgen.algorithms.policy_gradient import PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, optim, settings
from seqgen.data.augment import mask_words
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.generation.infill import NO_WORDS, blank_nll, infill, read_filled
from seqgen.generation.sample import Samples
from seqgen.models.base import evaluating, without_dropout
from seqgen.models.value_head import ValueHead


@dataclass(frozen=True)
class MaskGANConfig(PolicyGradientConfig, AdversarialConfig):
    """Settings of MaskGAN; the generator's come from the run it starts from."""

    discriminator: TokenReaderConfig = field(default_factory=TokenReaderConfig)
    encoder: TokenReaderConfig = field(default_factory=TokenReaderConfig)
    mask_rate: float = 0.5
    """fraction of the words that are left out"""
    discount: float = 0.9
    """weight of a blank's reward in the return of the token before it (γ)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, mask_rate=(0.0, 1.0), discount=(0.0, 1.0))


class MaskGAN(PolicyGradient, Adversary):
    """A generator and an encoder of blanks, a discriminator of the filled words, and a critic."""

    Config = MaskGANConfig
    config: MaskGANConfig
    infills = True
    policy_optimizers = ("generator", "encoder")
    forbidden = NO_WORDS
    examples = (
        {},
        {"generator.tied": True, "mask_rate": 1.0, "encoder.cell": "lstm"},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def __init__(self, config: MaskGANConfig, *, vocab_size: int, length: int) -> None:
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

    def infill(self, template: Tensor, **options: Any) -> Samples:
        """Fill the blanks, UNK, of sentences (B, T); options as of `seqgen.generation.infill.infill`."""
        return infill(self.generator, self.encoder, template, **options)

    def prepare(self, context: Tensor) -> Rollout:
        """Fill blanks of real sentences, and reward the words; the mask is where they stand."""
        real = without_unknown(context)[: distributed.part(self.config.batch_size)]
        template = mask_words(real, self.config.mask_rate)
        tokens, mask = self.infill(template).tokens, template == UNK
        return Rollout(tokens, mask, self.token_rewards(tokens, mask, context))

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the discounted sum of log D of each filled word and those after it; (B, T)."""
        with evaluating(self.discriminator):
            logits = self.discriminator(tokens, tokens.masked_fill(mask, UNK))[..., 0]
        return rewards.discounted(F.logsigmoid(logits.float()) * mask, self.config.discount) * mask

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
        return blank_nll(self.generator, self.encoder, real, mask_words(real, self.config.mask_rate))

    def pretraining_step(self, real: Batch) -> StepMetrics:
        """Update the encoder by likelihood while the discriminator is pretrained; return metrics."""
        self.generator.train()
        nll = self.infill_nll(real.tokens)
        optim.update({self.optimizers["encoder"]: nll}, clip=self.config.clip)
        return {"infill_nll": nll.detach()}

    def fakes(self, real: Tensor) -> Tensor:
        """Return the real sentences: `discriminator_loss`, which knows the blanks, fills them."""
        return real

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the cross entropy of the words at blanks of real sentences, left out and filled in."""
        template = mask_words(real, self.config.mask_rate)
        filled = self.infill(template).tokens
        masks = (template == UNK,) * 2
        on_real, on_fake = (self.discriminator(tokens, template)[..., 0] for tokens in (real, filled))
        return cross_entropy(on_real, on_fake, masks=masks), {
            "d_accuracy": accuracy(on_real, on_fake, masks=masks)
        }
