"""The settings that several algorithms share: networks, and how long and how fast they are trained."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from torch import nn

from seqgen.algorithms.base import TrainingConfig
from seqgen.algorithms.regularisation import TextSize, decay_for, with_dropout
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.models.base import GeneratorConfig
from seqgen.models.discriminator import (
    CNNDiscriminator,
    MultiEmbeddingDiscriminator,
    RNNDiscriminator,
    shaped_as,
)
from seqgen.models.encoder import RNNEncoder
from seqgen.models.prefix_cnn import PrefixCNNDiscriminator
from seqgen.models.token_reader import TokenReader

CNNS = {"cnn": CNNDiscriminator, "prefix_cnn": PrefixCNNDiscriminator}


def default_generator() -> GeneratorConfig:
    """Return the settings of the default kind of generator."""
    return GeneratorConfig.of_kind("rnn")()


@dataclass(frozen=True)
class NGramConfig:
    """The n-grams that the generator is mixed with."""

    order: int = 0
    """longest n-gram of the Kneser–Ney counts that are mixed in where validation gains by it, 2 to 9 (5 is
    usual); 0 for none"""

    def __post_init__(self) -> None:
        settings.bounds(self, order=(0, 9))
        if self.order == 1:
            raise UserError("ngram.order is 1; give 2 to 9, or 0 for no n-grams")


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
    pooling: Literal["last", "mean", "max"] | None = None
    """what of its states the latent vector is made of (Long et al. 2019); none: their maximum in a
    sentence-vae, else the last"""
    dropout: float = 0.1
    """fraction dropped of embeddings and of what the latent vector is made of"""

    def __post_init__(self) -> None:
        settings.bounds(self, embedding=(1, None), hidden=(1, None), dropout=(0.0, 0.99))

    def build(self, vocab_size: int, latent_dim: int) -> RNNEncoder:
        """Return a fresh encoder to latent vectors of `latent_dim` dimensions."""
        values = settings.to_dict(self) | {"pooling": self.pooling or "last"}
        return RNNEncoder(vocab_size, latent_dim=latent_dim, **values)


@dataclass(frozen=True)
class RNNDiscriminatorConfig:
    """A recurrent discriminator and its training."""

    kind: Literal["generator", "rnn"] = "generator"
    """the generator's layers, started from its weights, or a recurrent network of its own"""
    cell: Literal["lstm", "gru"] = "gru"
    """recurrent cell of an rnn"""
    embedding: int = 64
    """size of a token's embedding in an rnn"""
    hidden: int = 128
    """units of a recurrent layer of an rnn"""
    layers: int = 1
    """recurrent layers of an rnn"""
    bidirectional: bool = False
    """an rnn that reads both ways; rollouts then cannot share the reading of a prefix"""
    dropout: float = 0.5
    """fraction dropped in training; none in scoring"""
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
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
        )

    def build(self, vocab_size: int, generator: GeneratorConfig, *, projection_dim: int = 0) -> nn.Module:
        """Return a fresh discriminator; with a `projection_dim` one that gives embeddings, not logits."""
        if self.kind == "generator":
            return shaped_as(generator, vocab_size, dropout=self.dropout, projection_dim=projection_dim)
        return RNNDiscriminator(
            vocab_size,
            self.embedding,
            self.hidden,
            layers=self.layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            projection_dim=projection_dim,
        )


@dataclass(frozen=True)
class PrefixDiscriminatorConfig(RNNDiscriminatorConfig):
    """A discriminator of every prefix of a sentence and its training."""

    kind: Literal["generator", "rnn"] = "rnn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bidirectional:
            raise UserError(
                "setting discriminator.bidirectional=true reads whole sentences, here prefixes are scored; "
                "leave it out"
            )


@dataclass(frozen=True)
class ContrastiveEncoderConfig(RNNDiscriminatorConfig):
    """The encoder that is the discriminator, and its training."""

    projection_dim: int = 64
    """dimensions of the embedding that the losses compare"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, projection_dim=(2, None))

    def build(self, vocab_size: int, generator: GeneratorConfig, *, projection_dim: int = 0) -> nn.Module:
        """Return a fresh encoder."""
        return super().build(vocab_size, generator, projection_dim=projection_dim or self.projection_dim)


@dataclass(frozen=True)
class DiscriminatorConfig(RNNDiscriminatorConfig):
    """The discriminator of sentences and its training."""

    kind: Literal["generator", "rnn", "cnn", "prefix_cnn"] = "generator"  # type: ignore[assignment]
    """the generator's layers, started from its weights, a recurrent network of its own, the paper's CNN, or a
    CNN that reads prefixes as it goes, with which rollouts are faster"""
    filters: float = 1.0
    """multiplies the number of a cnn's filters in the paper"""
    loss: Literal["cross_entropy", "least_squares"] = "cross_entropy"
    """what it minimises"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, filters=(0.01, None))

    def build(self, vocab_size: int, generator: GeneratorConfig, *, projection_dim: int = 0) -> nn.Module:
        """Return a fresh discriminator."""
        if self.kind in CNNS:
            return CNNS[self.kind](vocab_size, self.embedding, scale=self.filters, dropout=self.dropout)
        return super().build(vocab_size, generator, projection_dim=projection_dim)


@dataclass(frozen=True)
class MultiEmbeddingConfig:
    """RelGAN's discriminator and its training."""

    embeddings: int = 64
    """embeddings of a sentence, each read by the same filters"""
    embedding: int = 1
    """size of a token's vector in each of them"""
    filters: int = 64
    """filters of each of four widths (300 in the paper)"""
    dropout: float = 0.25
    """fraction of the filters dropped in training"""
    lr: float = 1e-4
    """learning rate of AdamW"""
    weight_decay: float = 0.0
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            embeddings=(1, None),
            embedding=(1, None),
            filters=(1, None),
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
        )

    def build(self, vocab_size: int, generator: GeneratorConfig) -> nn.Module:
        """Return a fresh discriminator."""
        return MultiEmbeddingDiscriminator(
            vocab_size, self.embeddings, self.embedding, filters=self.filters, dropout=self.dropout
        )


@dataclass(frozen=True)
class LanguageModelConfig:
    """A language model in the discriminator's place, of the generator's kind and sizes, and its training."""

    dropout: float = 0.5
    """fraction dropped in training; none in scoring"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.01
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        settings.bounds(self, dropout=(0.0, 0.99), lr=(0.0, None), weight_decay=(0.0, None))

    def build(self, vocab_size: int, generator: GeneratorConfig) -> nn.Module:
        """Return a fresh language model."""
        return replace(generator, dropout=self.dropout).build(vocab_size)


@dataclass(frozen=True)
class TokenReaderConfig:
    """A network that reads sentences with blanks both ways, and its training."""

    cell: Literal["lstm", "gru"] = "gru"
    """recurrent cell"""
    embedding: int = 64
    """size of a token's embedding"""
    hidden: int = 128
    """units of each direction"""
    dropout: float = 0.3
    """fraction dropped of embeddings and of what is computed from"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.1
    """AdamW's decay of matrices"""

    def __post_init__(self) -> None:
        positive = dict.fromkeys(("embedding", "hidden"), (1, None))
        rates = dict.fromkeys(("lr", "weight_decay"), (0.0, None))
        settings.bounds(self, **positive, **rates, dropout=(0.0, 0.99))

    def build(self, vocab_size: int, generator: GeneratorConfig, *, outputs: int = 1) -> TokenReader:
        """Return a fresh network that says so many numbers of each token."""
        sizes = self.embedding, self.hidden, outputs
        return TokenReader(vocab_size, *sizes, cell=self.cell, dropout=self.dropout)


@dataclass(frozen=True)
class PretrainingConfig(TrainingConfig):
    """The settings of generator and training that maximum likelihood and the autoencoders share."""

    most_decay: ClassVar[float] = 0.03
    """What the default weight decay rises to with the dropout (`seqgen.algorithms.regularisation`)."""

    generator: GeneratorConfig = field(default_factory=default_generator)
    lr: float | None = 3e-3
    """peak learning rate of AdamW"""
    weight_decay: float | None = None
    """AdamW's decay of matrices (embeddings, recurrent and vocabulary weights; no biases); none: with the
    dropout, 0.01 at 0.1 to 0.03 at 0.3"""
    warmup: float = 0.02
    """fraction of training over which the learning rate rises; a cosine to zero follows"""
    epochs: int | None = None
    """passes over the training split; none: about 600,000 sentences in all, 3 to 25 passes"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, epochs=(1, None))

    def fitted(self, text: TextSize, steps: int | None = None) -> Self:
        """Fill in the epochs by the sentences, dropout and weight decay by tokens and length of training."""
        sentences = max(text.sentences, 1)
        epochs = self.epochs or min(max(round(600_000 / sentences), 3), 25)
        passes = epochs if steps is None else steps * self.batch_size / sentences
        generator = with_dropout(self.generator, text, passes)
        decay = (
            decay_for(generator.dropout, self.most_decay) if self.weight_decay is None else self.weight_decay
        )
        return replace(self, generator=generator, epochs=epochs, weight_decay=decay, lr=self.peak_lr)

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps; `batches` make an epoch."""
        return (self.epochs or 1) * batches


@dataclass(frozen=True)
class TunedConfig(TrainingConfig):
    """Settings of training a generator on; the generator's are the starting run's."""

    generator: GeneratorConfig = field(default_factory=default_generator)
    steps: int = 200
    """updates of the generator"""
    lr: float = 1e-4
    """learning rate of the generator at its highest; a cosine to a tenth follows"""
    report_every: int | None = 50
    """steps between reports"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, steps=(1, None), batch_size=(2, None))

    def fitted(self, text: TextSize, steps: int | None = None) -> Self:
        """Fill in the generator's dropout where no run gave it."""
        passes = (steps or self.steps) * self.batch_size / max(text.sentences, 1)
        return replace(self, generator=with_dropout(self.generator, text, passes))

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps."""
        return self.steps


@dataclass(frozen=True)
class AdversarialConfig(TunedConfig):
    """Settings of training a generator against a discriminator; the generator's are the starting run's."""

    discriminator: Any = field(default_factory=DiscriminatorConfig)
    discriminator_pretraining_steps: int = 400
    """steps in which only the discriminator learns, before the first update of the generator"""
    discriminator_steps: int = 2
    """updates of the discriminator at each update of the generator"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, discriminator_pretraining_steps=(0, None), discriminator_steps=(1, None))

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps."""
        return self.discriminator_pretraining_steps + self.steps

    @property
    def read_size(self) -> int:
        """Sentences that a step reads: each update of the discriminator has its own."""
        return self.batch_size * self.discriminator_steps
