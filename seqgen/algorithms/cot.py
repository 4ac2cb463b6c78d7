"""CoT: cooperative training (Lu et al. 2019, arXiv:1804.03782).

In place of a discriminator there is a mediator M, a language model that learns the mixture of real and
generated sentences by maximum likelihood. The generator G minimises the Jensen–Shannon divergence of the data
and itself as M estimates it: at every prefix of its own samples KL(G ‖ M) of the next token, over the whole
vocabulary, so that nothing is drawn for the gradient and there is no REINFORCE. What a token does to the
tokens after it is left out, as in the paper's algorithm.

What differs from the paper, which needs no pretraining, and why: training starts from a pretrained generator,
whose weights, kind and sizes the mediator takes over, as that is a small part of the work from nothing; and
unknown words take no part.

Report metrics: `g_loss`, KL(G ‖ M), nats a token; `grad_norm` of the generator before clipping; `d_loss`,
what the mediator minimises, nats a token of the mixture; and those of `seqgen.algorithms.tuned_generator`.
"""

from dataclasses import dataclass, field

from torch import Tensor

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, LanguageModelConfig
from seqgen.algorithms.mle import sentence_log_probs
from seqgen.core import distributed, optim
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional.chunked_log_probs import HeadInputs, head_kl
from seqgen.functional.chunked_loss import real_rows
from seqgen.generation.sample import shifted
from seqgen.models.base import Generator, evaluating


@dataclass(frozen=True)
class CoTConfig(AdversarialConfig):
    """Settings of CoT; the generator's come from the run it starts from."""

    discriminator: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    discriminator_pretraining_steps: int = 100
    """steps in which only the mediator learns, before the first update of the generator"""


class CoT(Adversary):
    """A generator, and a mediator that learns the mixture of real and generated sentences."""

    Config = CoTConfig
    config: CoTConfig
    examples = (
        {},
        {"generator.layers": 2, "generator.cell": "gru"},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator towards the mediator at the prefixes of sentences that it samples."""
        optimizer, tokens = (
            self.optimizers["generator"],
            self.generate(distributed.part(self.config.batch_size)),
        )
        mask = tokens != PAD
        with self.generator.without_dropout():
            mine = self.next_tokens(self.generator, tokens)
        with evaluating(self.discriminator):
            mixture = self.next_tokens(self.discriminator, tokens)
        (weights,) = real_rows(mask, mask / distributed.mean(mask.sum()))
        loss = (head_kl(mine, mixture) * weights).sum()
        norms = optim.update({optimizer: loss}, clip=self.config.clip)
        return {"g_loss": loss.detach(), "grad_norm": norms[optimizer]}

    @staticmethod
    def next_tokens(model: Generator, tokens: Tensor) -> HeadInputs:
        """Return a model's distributions of the real tokens of sentences (B, T), without unknown words."""
        hidden, _ = model.hidden(shifted(tokens), model.initial(len(tokens)))
        (rows,) = real_rows(tokens != PAD, hidden)
        return HeadInputs(rows, model.head.weight, model.bias(forbid=(UNK,)))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return -log M a token of the mixture, half real (R, T) and half generated sentences (F, T')."""
        halves = (real, fake)
        nats = [-sentence_log_probs(self.discriminator, half).mean() for half in halves]
        tokens = [distributed.mean((half != PAD).sum() / len(half)) for half in halves]
        return (nats[0] + nats[1]) / (tokens[0] + tokens[1]), {}
