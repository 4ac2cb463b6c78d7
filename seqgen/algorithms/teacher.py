"""Transfer: a model learns beside its own task to embed sentences as another, its teacher, embeds them.

The teacher is a run on another corpus, of any algorithm; its weights stay as they are. A contrastive loss
tells a sentence's embedding under the teacher from those of the other sentences of the batch, both ways
(`contrastive_losses.symmetric_info_nce`; Tian et al. 2020, "Contrastive representation distillation",
arXiv:1910.10699). What differs from the paper: negatives are those of the batch, and embeddings are compared
as they are, not through learned projections, so that both must have as many dimensions. Between two models
transfer goes both ways when each, trained in turn, has the other as its teacher.

The loss is added to that of the algorithm, whatever that is: its gradient, its norm bounded as theirs are, is
added to the gradients of every update that the step makes of the parameters that embed.

Report metric: `teacher_loss`, nats, of training batches under dropout; log B by chance.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqgen.core import optim
from seqgen.core.device import autocast
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, UNK
from seqgen.functional.contrastive_losses import symmetric_info_nce
from seqgen.models.base import evaluating

if TYPE_CHECKING:
    from seqgen.algorithms.base import StepMetrics, TextAlgorithm


class Teacher:
    """A frozen model, and what it adds to the steps of another."""

    def __init__(self, algorithm: "TextAlgorithm") -> None:
        self.algorithm = algorithm

    def check(self, student: "TextAlgorithm") -> None:
        """Raise UserError where a student's embeddings have other dimensions than the teacher's."""
        end = torch.tensor([[EOS]])
        with evaluating(student), evaluating(self.algorithm):
            mine, theirs = (each.embed(end).shape[1] for each in (student, self.algorithm))
        if mine != theirs:
            raise UserError(
                f"the embedding of a sentence has {mine} dimensions here and {theirs} under the teacher, and "
                "can only be compared with as many; train with the teacher's sizes of the "
                f"{'latent vector' if self.algorithm.latent else 'generator'}, or take another teacher"
            )

    def step(self, student: "TextAlgorithm", batch: Batch, progress: float) -> "StepMetrics":
        """Let a student take a step with the gradient of the contrastive loss added; return metrics."""
        c = student.config
        student.train()
        parameters = [p for p in student.parameters() if p.requires_grad]
        loss = self.loss(student, batch.tokens)
        gradients = torch.autograd.grad(c.teacher_weight * loss, parameters, allow_unused=True)
        found = {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}
        with optim.added_gradients(student.optimizers.values(), found, clip=c.clip):
            metrics = student.step(batch, progress)
        return metrics | {"teacher_loss": loss.detach()}

    def loss(self, student: "TextAlgorithm", tokens: Tensor) -> Tensor:
        """Return the contrastive loss of sentences' embeddings; (B, T) → scalar, nats.

        A word that the teacher does not have it reads as unknown.
        """
        c = student.config
        if next(self.algorithm.parameters()).device != tokens.device:
            self.algorithm.to(tokens.device)
        with autocast(tokens.device, bf16=c.bf16):
            with evaluating(self.algorithm):
                targets = self.algorithm.embed(tokens.where(tokens < self.algorithm.vocab_size, UNK))
            mine = student.embed(tokens)
        return symmetric_info_nce(mine.float(), targets.float(), temperature=c.teacher_temperature)
