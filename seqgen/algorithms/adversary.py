"""A generator and a discriminator that are trained in turn: what algorithms with a discriminator share.

What differs between them is in two methods: how the generator learns (`generator_step`), and what the
discriminator minimises (`discriminator_loss`).

Report metrics: `d_loss`, what the discriminator minimises, and by default `d_accuracy` of its training
batches, 0.5 by chance; and those of `seqgen.algorithms.tuned_generator`.
"""

import torch
from torch import Tensor

from seqgen.algorithms.base import StepMetrics, TextAlgorithm
from seqgen.algorithms.configs import AdversarialConfig
from seqgen.algorithms.tuned_generator import TunedGenerator, without_unknown
from seqgen.core import distributed, optim
from seqgen.core.device import autocast
from seqgen.data.batch import Batch, stacked
from seqgen.functional.gan_losses import accuracy, gan_loss
from seqgen.models.base import Generator
from seqgen.models.discriminator import CNNDiscriminator, take_over_layers


class Adversary(TunedGenerator):
    """A generator, a discriminator, and the order of their updates."""

    config: AdversarialConfig
    on_host = ("updates",)
    updates: Tensor
    """Steps done; scalar."""

    def __init__(self, config: AdversarialConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.discriminator = config.discriminator.build(vocab_size, config.generator)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return what the discriminator minimises, and metrics; real (R, T), fake (F, T').

        That is the GAN loss of the setting `discriminator.loss`, and a CNN's penalty.
        """
        logits = self.discriminator(stacked([real, fake]))  # in one batch: its weights are passed over once
        on_real, on_fake = logits[: len(real)], logits[len(real) :]
        loss = gan_loss(self.config.discriminator.loss)
        total = loss.discriminator(on_real, on_fake)
        if isinstance(self.discriminator, CNNDiscriminator):
            total = total + self.discriminator.penalty()
        return total, {"d_accuracy": accuracy(on_real, on_fake, threshold=loss.threshold)}

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run.

        A discriminator with the generator's layers starts from its weights: of a small corpus it learns more,
        and sooner, than from random ones. So does a language model in its place.
        """
        super().start_from(start)
        if isinstance(self.discriminator, Generator):
            self.discriminator.load_state_dict(self.generator.state_dict())
        elif getattr(self.config.discriminator, "kind", None) == "generator":
            take_over_layers(self.discriminator, self.generator)

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        super().configure()
        d = self.config.discriminator
        self.optimizers["discriminator"] = optim.adamw(
            self.discriminator, lr=d.lr, weight_decay=d.weight_decay
        )

    def step(self, batch: Batch, progress: float) -> StepMetrics:
        """Update the generator, once the discriminator has been pretrained, then the discriminator.

        `batch` holds the real sentences of every update of the discriminator, (B · discriminator_steps, T).
        """
        c, real = self.config, batch.tokens
        metrics: StepMetrics = {}
        with autocast(real.device, bf16=c.bf16):
            rows = distributed.part(c.batch_size)
            parts = real.split(rows)
            if self.updates >= c.discriminator_pretraining_steps:
                done = self.generator_progress(progress)
                self.set_learning_rate(done)
                metrics |= self.generator_step(Batch(parts[-1]), done, real)
            else:
                metrics |= self.pretraining_step(Batch(parts[-1]))
            for part, fake in zip(parts, self.fakes(real).split(rows), strict=True):
                metrics |= self.discriminator_step(part, fake)
            self.updates += 1
        return metrics

    def pretraining_step(self, real: Batch) -> StepMetrics:
        """Update what is new beside the generator while only the discriminator is trained: here nothing."""
        return {}

    def fakes(self, real: Tensor) -> Tensor:
        """Return generated sentences for the discriminator's updates, as many as real ones (R, T)."""
        return self.generate(len(real))

    def discriminator_step(self, real: Tensor, fake: Tensor) -> StepMetrics:
        """Update the discriminator by real (R, T) and generated sentences (F, T'); return metrics."""
        self.discriminator.train()
        loss, metrics = self.discriminator_loss(without_unknown(real), fake)
        optim.update({self.optimizers["discriminator"]: loss}, clip=self.config.clip)
        return {"d_loss": loss.detach()} | metrics

    def generator_progress(self, progress: float) -> float:
        """Return the fraction of the generator's updates done, given that of all steps."""
        first = self.config.discriminator_pretraining_steps
        total = first + self.config.steps
        return max((progress * total - first) / self.config.steps, 0.0)
