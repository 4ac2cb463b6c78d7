"""DGSAN: discrete generative self-adversarial network (Montahaei et al. 2021, arXiv:1908.09127).

The discriminator is made of two generators, a new and an old one: D(x) = G(x) / (G(x) + G_old(x)), with the
logit log G(x) - log G_old(x). The new generator minimises the discriminator's loss on real sentences and on
samples of the old one, which it replaces after some updates. At the optimum of each round it has the
distribution of the data, and no gradient has to flow through samples.

What differs from the paper, and why: the old generator is replaced after a number of updates, not of passes
over the text; unknown words take no part.

Report metrics: `g_loss`, the cross entropy of D, log 2 right after a replacement; `accuracy` of D on the
batch; `grad_norm` of the generator before clipping; and those of `seqgen.algorithms.tuned_generator`.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import TunedConfig
from seqgen.algorithms.mle import sentence_log_probs
from seqgen.algorithms.tuned_generator import TunedGenerator, without_unknown
from seqgen.core import optim, settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.generation.sample import sample, sentence_log_prob


@dataclass(frozen=True)
class DGSANConfig(TunedConfig):
    """Settings of DGSAN; the generator's come from the run it starts from."""

    replace_every: int = 50
    """updates after which the new generator becomes the old one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, replace_every=(1, None))


class DGSAN(TunedGenerator):
    """A generator that learns to tell real sentences from those of what it was before."""

    Config = DGSANConfig
    config: DGSANConfig
    on_host = ("updates",)
    examples = ({"replace_every": 2}, {"replace_every": 1, "generator.layers": 2})
    updates: Tensor
    """Updates done; scalar."""

    def __init__(self, config: DGSANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.old = copy.deepcopy(self.generator).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator by real sentences and as many of the old one, which it replaces first."""
        optimizer, known = self.optimizers["generator"], without_unknown(real.tokens)
        if int(self.updates) % self.config.replace_every == 0:
            self.old.load_state_dict(self.generator.state_dict())
        self.updates += 1
        fake = sample(self.old, len(known), self.length, forbid=(UNK,)).tokens
        with self.generator.without_dropout():
            on_real, on_fake = self.logits(known), self.logits(fake)
        loss = cross_entropy(on_real, on_fake)
        norms = optim.update({optimizer: loss}, clip=self.config.clip)
        metrics = {"g_loss": loss.detach(), "accuracy": accuracy(on_real, on_fake)}
        return metrics | {"grad_norm": norms[optimizer]}

    def logits(self, tokens: Tensor) -> Tensor:
        """Return log G(x) - log G_old(x) of sentences, in nats; (B, T) → (B,)."""
        return sentence_log_probs(self.generator, tokens) - sentence_log_prob(self.old, tokens).float()
