"""How the models that learn from sentences alone are trained: the optimiser's settings and the length."""

from dataclasses import dataclass, field, replace
from typing import Self

from seqgen import settings
from seqgen.algorithms.players import GeneratorConfig, scarcity


@dataclass(frozen=True)
class Schedule:
    """The settings of generator and training that maximum likelihood and the autoencoders share."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    lr: float = 3e-3
    """peak learning rate of AdamW"""
    weight_decay: float | None = None
    """AdamW's decay of matrices; none: by the corpus, as the dropout, from 0.05 to 0.01"""
    warmup: float = 0.02
    """share of training over which the learning rate rises; a cosine to zero follows"""
    clip: float = 1.0
    """bound of either gradient's norm"""
    batch_size: int = 64
    """sentences of an update"""
    epochs: int | None = None
    """passes over the training split; none: about 600,000 sentences in all, 3 to 25 passes"""
    report_every: int | None = None
    """steps between reports; none means an epoch, at least 50 and at most 1,000 steps"""
    patience: int | None = None
    """reports without a better validation loss before training stops"""
    bf16: bool = False
    """run the networks in bfloat16 autocast"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            lr=(0.0, None),
            weight_decay=(0.0, None),
            warmup=(0.0, 1.0),
            clip=(0.0, None),
            batch_size=(1, None),
            epochs=(1, None),
            report_every=(1, None),
            patience=(1, None),
        )

    def fitted(self, sentences: int) -> Self:
        """Fill in the generator's dropout, the epochs and the weight decay for a number of sentences."""
        epochs = self.epochs or min(max(round(600_000 / max(sentences, 1)), 3), 25)
        decay = 0.01 + 0.04 * scarcity(sentences) if self.weight_decay is None else self.weight_decay
        generator = self.generator.fitted(sentences)
        return replace(self, generator=generator, epochs=epochs, weight_decay=round(decay, 4))

    def total_steps(self, batches: int) -> int:
        """Length of training in steps; `batches` make an epoch."""
        return (self.epochs or 1) * batches

    @property
    def read_size(self) -> int:
        """Sentences of a step."""
        return self.batch_size
