"""A generator that is trained on from that of a run, by something other than likelihood.

What differs between its algorithms is in one method, how the generator learns (`generator_step`). Unknown
words take no part: they are never sampled, and what compares samples with real sentences leaves out those
that have them, as they would tell real from generated.

Report metrics: what the algorithm measures of an update; then `valid_nll`, `valid_ppl`, `unique`,
`distinct_tokens` and `sample_nll` of `seqgen.algorithms.base`.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from seqgen.algorithms import collapse
from seqgen.algorithms.base import Metrics, StepMetrics, TextAlgorithm
from seqgen.algorithms.configs import TunedConfig
from seqgen.core import distributed, optim
from seqgen.core.device import autocast, leaves_out
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK


class TunedGenerator(TextAlgorithm):
    """A generator, its optimiser, and the schedule of its updates."""

    config: TunedConfig
    needs_start: ClassVar[bool] = True

    def __init__(self, config: TunedConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.generator = config.generator.build(vocab_size)

    @abstractmethod
    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator; return metrics.

        real: a batch for a likelihood term. progress: the fraction of its updates done. context: all
        real sentences of the step, (R, T).
        """

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run."""
        self.generator.load_state_dict(start.generator.state_dict())

    def configure(self) -> None:
        """Create the optimiser; called once the module is on its device."""
        c = self.config
        self.optimizers = {
            "generator": optim.adamw(
                self.generator, lr=c.peak_lr, weight_decay=c.weight_decay or 0.0, betas=(0.9, 0.99)
            )
        }

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the generator."""
        with autocast(batch.tokens.device, bf16=self.config.bf16):
            self.set_learning_rate(progress)
            return self.generator_step(batch, progress, batch.tokens)

    def set_learning_rate(self, progress: float) -> None:
        """Set the generator's learning rate: it rises over `warmup`, then follows a cosine to a tenth."""
        factor = optim.warmup_cosine(progress, warmup=self.config.warmup, floor=0.1)
        optim.scale_lr(self.optimizers["generator"], factor)

    def generate(self, n: int) -> Tensor:
        """Draw n sentences without unknown words; (n, T)."""
        return self.sample(n, forbid=(UNK,)).tokens

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on a mode collapse: the weights of the last good report are kept."""
        return collapse.collapsed(report, first)


def without_unknown(real: Tensor) -> Tensor:
    """Leave out real sentences (R, T) with unknown words, unless all have them.

    On an accelerator, where counting them would wait for the device, others take their places in turn; so
    they do where several processes share a batch.
    """
    is_known = ~(real == UNK).any(dim=1)
    if leaves_out(real.device):
        known = real[is_known]
        return known if len(known) else real
    real, is_known = distributed.gather(real), distributed.gather(is_known)
    count = is_known.sum()
    places = torch.arange(len(real), device=real.device) % count.where(count > 0, len(real))
    return distributed.shard(real[is_known.int().argsort(descending=True, stable=True)[places]])
