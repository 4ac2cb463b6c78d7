"""JSDGAN: the Jensen–Shannon divergence to the training text itself (Li et al. 2019, AISTATS).

Where the data are the N training sentences, each with p = 1 / N, the best discriminator is known: it is
p / (p + G(x)), and the divergence is a sum over them, Σ ½ [-p log(p + G) + G log(G / (p + G))], and a
constant. Its derivative in log G(x) is ½ G log(G / (p + G)), so an update maximises the likelihood of real
sentences weighted by G log(1 + p / G). Nothing is sampled.

What differs, and why: the weights of a batch are normalised, as G of a sentence is e⁻⁴⁰ and
less, and so is the gradient; and a weight is bounded about the batch's, as one sentence would else be the
whole batch (the code of TextGAN-PyTorch scales G of a batch to 0 … 1, which is no divergence). G being that
small, the weights are all but proportional to it: what is learned is what is likely already, which sharpens
the generator.

Report metrics: `nll`, nats a token of the batch as weighted; `effective_sentences`, 1 / Σ weight², how many
sentences of a batch count; `grad_norm` of the generator before clipping; and those of
`seqgen.algorithms.tuned_generator`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import TunedConfig
from seqgen.algorithms.mle import sentence_log_probs
from seqgen.algorithms.tuned_generator import TunedGenerator, without_unknown
from seqgen.core import distributed, optim, settings
from seqgen.data.batch import Batch
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import PAD


@dataclass(frozen=True)
class JSDGANConfig(TunedConfig):
    """Settings of JSDGAN; the generator's come from the run it starts from."""

    max_log_ratio: float = 5.0
    """bound of a weight over the batch's geometric mean, in nats, either way"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, max_log_ratio=(0.0, None))


class JSDGAN(TunedGenerator):
    """A generator that minimises its divergence from the training text in closed form."""

    Config = JSDGANConfig
    config: JSDGANConfig
    examples = ({}, {"max_log_ratio": 1.0, "generator.layers": 2})
    log_p: Tensor
    """log 1 / N of N training sentences; scalar."""

    def __init__(self, config: JSDGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("log_p", torch.zeros(()))

    def read_corpus(self, train: Ids) -> None:
        """Count the training sentences."""
        self.log_p.fill_(-math.log(len(train)))

    def weights(self, log_probs: Tensor) -> Tensor:
        """Return the weight of each sentence by its log G, in nats; (B,) → (B,) whose sum is 1."""
        bound = self.config.max_log_ratio
        log_weights = log_probs + F.softplus(self.log_p - log_probs).log()
        return (log_weights - log_weights.mean()).clamp(-bound, bound).softmax(dim=0)

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator by the weighted likelihood of real sentences."""
        optimizer, tokens = self.optimizers["generator"], without_unknown(real.tokens)
        self.generator.train()
        log_probs = sentence_log_probs(self.generator, tokens)
        whole = self.weights(distributed.gather(log_probs.detach()))
        weights = distributed.shard(whole)
        nll = -(weights * log_probs).sum()
        nll = nll / distributed.mean((weights * (tokens != PAD).sum(dim=1)).sum())
        norms = optim.update({optimizer: nll}, clip=self.config.clip)
        effective = 1 / whole.square().sum()
        return {"nll": nll.detach(), "effective_sentences": effective, "grad_norm": norms[optimizer]}
