"""The players of the algorithms as settings: a generator, a discriminator, and how each is built."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.models.discriminator import CNNDiscriminator, RNNDiscriminator
from seqgen.models.encoder import RNNEncoder
from seqgen.models.rnn_generator import RNNGenerator


@dataclass(frozen=True)
class GeneratorConfig:
    """The recurrent generator."""

    cell: Literal["lstm", "gru"] = "lstm"
    """recurrent cell"""
    embedding: int = 256
    """size of a token's embedding"""
    hidden: int = 192
    """units of a recurrent layer"""
    layers: int = 1
    """recurrent layers"""
    dropout: float | None = None
    """share dropped of embeddings, between layers and of what the vocabulary head reads; none: by the corpus,
    0.55 up to 10,000 training sentences, falling to 0.1 at 30,000"""
    tied: bool = False
    """one matrix for the embedding and the vocabulary head (Press & Wolf 2017)"""
    attention: bool = False
    """attend over the generator's own past states"""

    def __post_init__(self) -> None:
        settings.bounds(self, embedding=(1, None), hidden=(1, None), layers=(1, None), dropout=(0.0, 0.99))

    def fitted(self, sentences: int) -> "GeneratorConfig":
        """Fill in the dropout for a number of training sentences: the fewer, the more of it."""
        if self.dropout is not None:
            return self
        return replace(self, dropout=round(0.1 + 0.45 * scarcity(sentences), 3))

    def build(self, vocab_size: int, *, code: int = 0) -> RNNGenerator:
        """Return a fresh generator, a decoder of `code` numbers where there are any.

        UserError where the dropout was left to a corpus that is not known.
        """
        values = settings.to_dict(self) | {"code": code}
        if self.dropout is None:
            raise UserError("generator.dropout is not set and there is no corpus to set it by; give a number")
        return RNNGenerator(vocab_size, **values)


def scarcity(sentences: int) -> float:
    """Return how much regularisation a corpus needs: 1 up to 10,000 sentences, falling to 0 at 30,000."""
    return min(max(1.0 - math.log(max(sentences, 1) / 10_000) / math.log(3), 0.0), 1.0)


@dataclass(frozen=True)
class EncoderConfig:
    """The recurrent encoder of an autoencoder."""

    cell: Literal["lstm", "gru"] = "lstm"
    """recurrent cell"""
    embedding: int = 256
    """size of a token's embedding"""
    hidden: int = 192
    """units of each direction"""
    bidirectional: bool = True
    """read both ways"""
    dropout: float = 0.1
    """share dropped of embeddings and of what the code is made of"""

    def __post_init__(self) -> None:
        settings.bounds(self, embedding=(1, None), hidden=(1, None), dropout=(0.0, 0.99))

    def build(self, vocab_size: int, code: int) -> RNNEncoder:
        """Return a fresh encoder to codes of `code` numbers."""
        return RNNEncoder(vocab_size, code=code, **settings.to_dict(self))


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator and its training."""

    kind: Literal["generator", "rnn", "cnn"] = "generator"
    """shaped as the generator and started from its weights, a recurrent one of its own, or the paper's CNN"""
    cell: Literal["lstm", "gru"] = "gru"
    """recurrent cell of an rnn"""
    embedding: int = 64
    """size of a token's embedding in an rnn or cnn"""
    hidden: int = 128
    """units of a recurrent layer of an rnn"""
    layers: int = 1
    """recurrent layers of an rnn"""
    bidirectional: bool = False
    """an rnn that reads both ways; rollouts then cannot share the reading of a beginning"""
    filters: float = 1.0
    """multiplies the paper's number of convolution filters"""
    dropout: float = 0.5
    """share dropped while it learns; never while it scores"""
    loss: Literal["cross_entropy", "least_squares"] = "cross_entropy"
    """what it minimises"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.1
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            embedding=(1, None),
            hidden=(1, None),
            layers=(1, None),
            filters=(0.01, None),
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
        )

    def build(self, vocab_size: int, generator: GeneratorConfig) -> RNNDiscriminator | CNNDiscriminator:
        """Return a fresh discriminator."""
        if self.kind == "cnn":
            return CNNDiscriminator(vocab_size, self.embedding, scale=self.filters, dropout=self.dropout)
        if self.kind == "generator":
            return RNNDiscriminator(
                vocab_size,
                generator.embedding,
                generator.hidden,
                layers=generator.layers,
                cell=generator.cell,
                dropout=self.dropout,
            )
        return RNNDiscriminator(
            vocab_size,
            self.embedding,
            self.hidden,
            layers=self.layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )


@contextlib.contextmanager
def policy_gradients(generator: RNNGenerator) -> Iterator[None]:
    """Switch dropout off but keep gradients: what is moved must be the policy that was sampled.

    cuDNN's recurrent layers go backwards in training mode only, so they stay in it with their dropout at 0.
    """
    training, dropout = generator.training, generator.rnn.dropout
    generator.eval()
    generator.rnn.train()
    generator.rnn.dropout = 0.0
    try:
        yield
    finally:
        generator.rnn.dropout = dropout
        generator.train(training)


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
