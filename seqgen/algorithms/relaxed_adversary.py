"""A generator that learns through relaxed sentences: what GANs with a Gumbel-softmax share.

The generator's sentences are soft one-hots, or one-hots with the gradient of the soft ones, whose gradient
comes from the discriminator itself: there is no reward. An algorithm says the temperature of the relaxation,
and the generator's loss where it is not that of the discriminator's settings.

Metrics of an update: `g_loss`, what the generator minimises; `tau`, the relaxation's temperature; `grad_norm`
of the generator before clipping; and those of `seqgen.algorithms.adversary`.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import optim
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import gan_loss
from seqgen.generation.gumbel_softmax import sample_relaxed
from seqgen.models.base import without_dropout


class RelaxedAdversary(Adversary):
    """A generator that learns through relaxed sentences, and a discriminator that reads them."""

    hard: ClassVar[bool] = False
    """Whether the discriminator reads one-hots, whose gradient is that of the soft ones."""

    @abstractmethod
    def temperature(self, progress: float) -> float:
        """Return the relaxation's temperature at a fraction of the generator's updates."""

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return what the generator minimises, a scalar; real ids (R, T), fake soft one-hots (F, T', V).

        That is the GAN loss of the setting `discriminator.loss`.
        """
        loss = gan_loss(self.config.discriminator.loss)
        return loss.generator(self.discriminator(real), self.discriminator(fake))

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator by relaxed sentences that the discriminator reads; no dropout in either."""
        known, tau = without_unknown(real.tokens), self.temperature(progress)
        return self.relaxed_update(known, self.generator_loss, len(real), temperature=tau, forbid=(UNK,))

    def relaxed_update(
        self, real: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor], rows: int, **how: Any
    ) -> StepMetrics:
        """Update the generator by so many relaxed sentences and a loss as `generator_loss`; real (R, T).

        how: options of `seqgen.generation.gumbel_softmax.sample_relaxed`.
        """
        optimizer = self.optimizers["generator"]
        with self.generator.without_dropout(), without_dropout(self.discriminator):
            fake = sample_relaxed(self.generator, rows, self.length, hard=self.hard, **how)
            loss = loss_of(real, fake.soft)
        norms = optim.update({optimizer: loss}, clip=self.config.clip)
        return {"g_loss": loss.detach(), "tau": how["temperature"], "grad_norm": norms[optimizer]}
