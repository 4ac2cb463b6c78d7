"""MaskGAN: words are left out of real sentences, and filled in again (Fedus et al. 2018, arXiv:1801.07736).

A generator that knows the sentence with its blanks m(x) fills them from left to right; a discriminator that
knows m(x) as well says of each filled word whether it is real, r = log D. A word's return is the discounted
sum of the rewards of the blanks from it on, less a critic's estimate (the paper's actor-critic training).

What differs from the paper, and why: the generator is that of the run that this starts from, without m(x) a
language model and, as in the paper at a mask rate of 1, what is sampled, evaluated and continued from a
prompt. An encoder of m(x) stands in place of attention (`seqgen.algorithms.infill_policy`), as blanks and
words stand at equal positions; it learns by likelihood while the discriminator is pretrained. Teacher
forcing, of language model and blanks, stands beside the rewards, which are normalised. Ends of sentences are
never blanks.

Report metrics: those of `seqgen.algorithms.infill_policy`; `infill_nll`, nats a blank, while only the
discriminator and the encoder learn; and those of `seqgen.algorithms.adversary`, `d_loss` and `d_accuracy`
being means over blanks.
"""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from seqgen.algorithms import rewards
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, TokenReaderConfig
from seqgen.algorithms.infill_policy import InfillPolicy, InfillPolicyConfig
from seqgen.core import optim, settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.models.base import evaluating


@dataclass(frozen=True)
class MaskGANConfig(InfillPolicyConfig, AdversarialConfig):
    """Settings of MaskGAN; the generator's come from the run it starts from."""

    discriminator: TokenReaderConfig = field(default_factory=TokenReaderConfig)
    discount: float = 0.9
    """weight of a blank's reward in the return of the token before it (γ)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, discount=(0.0, 1.0))


class MaskGAN(InfillPolicy, Adversary):
    """A generator of what is left out, and a discriminator of the filled words."""

    Config = MaskGANConfig
    config: MaskGANConfig
    examples = (
        {},
        {"generator.tied": True, "mask_rate": 1.0, "encoder.cell": "lstm"},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the discounted sum of log D of each filled word and those after it; (B, T)."""
        with evaluating(self.discriminator):
            logits = self.discriminator(tokens, tokens.masked_fill(mask, UNK))[..., 0]
        return rewards.discounted(F.logsigmoid(logits.float()) * mask, self.config.discount) * mask

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
        template = self.blanked(real)
        filled = self.infill(template).tokens
        masks = (template == UNK,) * 2
        on_real, on_fake = (self.discriminator(tokens, template)[..., 0] for tokens in (real, filled))
        return cross_entropy(on_real, on_fake, masks=masks), {
            "d_accuracy": accuracy(on_real, on_fake, masks=masks)
        }
