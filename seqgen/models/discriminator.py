"""Discriminators: networks that give a sentence the logit of the probability that it is real."""

import copy
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core.device import is_host
from seqgen.data.tokenizer import PAD
from seqgen.functional.dropout import Dropout
from seqgen.functional.gru import can_read, gru
from seqgen.functional.max_over_time import max_over_time, max_within
from seqgen.models.base import Generator, GeneratorConfig, evaluating
from seqgen.models.batch_norm import BatchNorm1d
from seqgen.models.recurrent_layers import CELLS, recur
from seqgen.models.rnn_generator import RNNConfig
from seqgen.models.state import State

PAPER_FILTERS = {
    1: 100,
    2: 200,
    3: 200,
    4: 200,
    5: 200,
    6: 100,
    7: 100,
    8: 100,
    9: 100,
    10: 100,
    15: 160,
    20: 160,
}
"""Filters of each width in tokens, for sentences of 20 tokens (Yu et al. 2017, SeqGAN, appendix)."""
L2 = 0.2
"""Weight of a CNN's penalty, as in the paper's code."""


def real_positions(tokens: Tensor) -> Tensor:
    """Mark what is not padding: ids (B, T), or soft one-hots (B, T, V) by their argmax → (B, T)."""
    return (tokens.argmax(dim=-1) if tokens.is_floating_point() else tokens) != PAD


def embed(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
    """Look ids (B, T) up, or mix the vectors by soft one-hots (B, T, V); → (B, T, E)."""
    return tokens @ embedding.weight if tokens.is_floating_point() else embedding(tokens)


def reverse(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row within its own length, padding staying behind; (B, T, E), (B,) → (B, T, E).

    Layers that read what is reversed are faster than a packed sequence, and no length is looked at.
    """
    steps = torch.arange(inputs.shape[1], device=inputs.device)
    places = (lengths[:, None] - 1 - steps).where(steps < lengths[:, None], steps)
    return inputs[torch.arange(len(inputs), device=inputs.device)[:, None], places]


def last_states(rnn: nn.RNNBase, backwards: nn.RNNBase | None, embedded: Tensor, lengths: Tensor) -> Tensor:
    """Return the state after the last real token, beside it that after the first of the sentence reversed.

    embedded (B, T, E), lengths (B,) at least 1 → (B, H), or (B, 2 H) where there are layers that read
    backwards.
    """
    rows = torch.arange(len(embedded), device=embedded.device)
    ends = [states_of(rnn, embedded, lengths)[rows, lengths - 1]]
    if backwards is not None:
        ends.append(states_of(backwards, reverse(embedded, lengths), lengths)[rows, lengths - 1])
    return torch.cat(ends, dim=1)


def states_of(rnn: nn.RNNBase, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the states of layers at the tokens of sentences; (B, T, E), (B,) → (B, T, H), any at padding."""
    return gru(rnn, inputs, lengths) if can_read(rnn, inputs) else rnn(inputs)[0]


class PrefixReader(Protocol):
    """What scores a sentence that grows by a few tokens at a time, so that completions share their prefix.

    A discriminator is one if its `reads_prefixes` is true. Its states branch as a generator's do
    (`seqgen.models.state`).
    """

    def initial(self, batch: int) -> State:
        """Return the state before any token."""

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T more tokens (B, T); → features after each (B, T, F), the state after the last."""

    def score(self, features: Tensor) -> Tensor:
        """Score sentences by the features after their last token; (…, F) → (…)."""


def output_layer(features: int, projection_dim: int) -> nn.Module:
    """Return a fresh map from features to a logit, or to the embedding that a contrastive loss compares.

    The embedding's is a projection head of two layers (Chen et al. 2020, SimCLR). Batch normalisation ends
    it, as there: without it all embeddings lie in one narrow cone, where cosines are near 1 whatever is
    learned, and their gradients near 0.
    """
    if not projection_dim:
        return nn.Linear(features, 1)
    hidden = nn.Linear(features, features)
    normalisation = BatchNorm1d(projection_dim, affine=False)
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(features, projection_dim), normalisation)


class RNNDiscriminator(nn.Module):
    """Recurrent discriminator: the state after the last real token → the logit that the sentence is real.

    A unidirectional one is a `PrefixReader`; a bidirectional one, with layers for either direction that meet
    in the logit (as in ELMo, Peters et al. 2018), needs whole sentences. Dropout is applied to
    the embeddings, between the layers and to what the logit is computed from. With a `projection_dim` of D it
    gives an embedding (…, D) in place of the logit (…).
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        hidden: int = 32,
        *,
        layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        projection_dim: int = 0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.projection_dim = projection_dim
        self.embedding = nn.Embedding(vocab_size, embedding)
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](embedding, hidden, num_layers=layers, dropout=between, batch_first=True)
        self.backwards = copy.deepcopy(self.rnn) if bidirectional else None
        if self.backwards is not None:
            self.backwards.reset_parameters()
        self.dropout = Dropout(dropout)
        self.output = output_layer(2 * hidden if bidirectional else hidden, projection_dim)

    @property
    def reads_prefixes(self) -> bool:
        """Whether it is a `PrefixReader`."""
        return self.backwards is None

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        lengths = real_positions(tokens).sum(dim=1).clamp(min=1)
        embedded = self.dropout(embed(self.embedding, tokens))
        return self.score(last_states(self.rnn, self.backwards, embedded, lengths))

    def initial(self, batch: int) -> State:
        """Return the state before any token: zeros, (h,) or (h, c), each (B, layers, H)."""
        if not self.reads_prefixes:
            raise ValueError(
                "a bidirectional discriminator has no state after a prefix; read whole sentences"
            )
        parts = 2 if isinstance(self.rnn, nn.LSTM) else 1
        shape = (batch, self.rnn.num_layers, self.rnn.hidden_size)
        return tuple(self.embedding.weight.new_zeros(shape) for _ in range(parts))

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T more tokens, ids (B, T) or soft one-hots (B, T, V); → features (B, T, H), State."""
        return recur(self.rnn, self.dropout(embed(self.embedding, tokens)), state)

    def score(self, features: Tensor) -> Tensor:
        """Return the logit that a sentence is real, by the features after its last token; (…, H) → (…)."""
        scores = self.output(self.dropout(features))
        return scores if self.projection_dim else scores.squeeze(-1)


class TrunkDiscriminator(nn.Module):
    """A discriminator with the layers of a generator, of any kind, in place of a network of its own.

    It is a `PrefixReader`. Dropout is the generator's, and applied to what the logit is computed from. With a
    `projection_dim` of D it gives an embedding (…, D) in place of the logit (…).
    """

    reads_prefixes = True

    def __init__(self, trunk: Generator, *, dropout: float = 0.0, projection_dim: int = 0) -> None:
        super().__init__()
        with torch.no_grad():
            nothing = trunk.embedding.weight.new_zeros(1, 1, trunk.input_size)
            features = trunk.read(nothing, trunk.first_state(1, None))[0].shape[-1]
        del trunk.head
        trunk.projection = None
        self.trunk, self.projection_dim = trunk, projection_dim
        self.dropout = Dropout(dropout)
        self.output = output_layer(features, projection_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        lengths = real_positions(tokens).sum(dim=1).clamp(min=1)
        features, _ = self.read(tokens, self.initial(tokens.shape[0]))
        return self.score(features[torch.arange(tokens.shape[0], device=tokens.device), lengths - 1])

    def initial(self, batch: int) -> State:
        """Return the state before any token."""
        return self.trunk.first_state(batch, None)

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T more tokens, ids (B, T) or soft one-hots (B, T, V); → features after each, State."""
        return self.trunk.features(tokens, state)

    def score(self, features: Tensor) -> Tensor:
        """Return the logit that a sentence is real, by the features after its last token; (…, F) → (…)."""
        scores = self.output(self.dropout(features))
        return scores if self.projection_dim else scores.squeeze(-1)


def shaped_as(
    generator: GeneratorConfig, vocab_size: int, *, dropout: float, projection_dim: int = 0
) -> RNNDiscriminator | TrunkDiscriminator:
    """Return a fresh discriminator with a generator's layers; a recurrent one's attention is left out."""
    if isinstance(generator, RNNConfig):
        return RNNDiscriminator(
            vocab_size,
            generator.embedding,
            generator.hidden,
            layers=generator.layers,
            cell=generator.cell,
            dropout=dropout,
            projection_dim=projection_dim,
        )
    trunk = replace(generator, dropout=dropout, tied=False).build(vocab_size)
    return TrunkDiscriminator(trunk, dropout=dropout, projection_dim=projection_dim)


def take_over_layers(discriminator: nn.Module, generator: Generator) -> None:
    """Give a discriminator that is `shaped_as` a generator that generator's embedding and layers."""
    target = discriminator.trunk if isinstance(discriminator, TrunkDiscriminator) else discriminator
    kept = {name for name, _ in target.named_parameters()}
    weights = {name: weight for name, weight in generator.state_dict().items() if name in kept}
    target.load_state_dict(weights, strict=False)


class CNNDiscriminator(nn.Module):
    """Convolutional discriminator of SeqGAN (Yu et al. 2017; Zhang & LeCun 2015), with padding left out.

    Filters of many widths, the maximum of each over the sentence, a highway layer (Srivastava et al. 2015),
    dropout and a linear map. `scale` multiplies every number of filters. The paper keeps units with
    probability 0.75, which is dropout 0.25, and adds `penalty()` to the loss. Differences: one
    logit instead of two; windows lie within the sentence instead of running over its padding, except that a
    sentence shorter than a filter is extended with zeros to its width.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 64,
        *,
        scale: float = 1.0,
        dropout: float = 0.25,
        filters: dict[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        numbers = {w: max(1, round(scale * n)) for w, n in (filters or PAPER_FILTERS).items()}
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, n, kernel_size=w) for w, n in numbers.items())
        self.widths = tuple(numbers)
        total = sum(numbers.values())
        self.transform = nn.Linear(total, total)
        self.gate = nn.Linear(total, total)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(total, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        return self.score(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """Return what the logit is computed from; ids (B, T) or soft one-hots (B, T, V) → (B, F)."""
        real = real_positions(tokens)
        lengths = real.sum(dim=1)
        embedded = embed(self.embedding, tokens) * real[..., None]  # (B, T, E)
        embedded = F.pad(embedded, (0, 0, 0, max(0, max(self.widths) - tokens.shape[1])))
        # Where nothing is learned, a convolution needs a fraction of the memory.
        learns_here = torch.is_grad_enabled() and is_host(tokens.device)
        strongest = self._strongest_within if learns_here else self._strongest
        pooled = [
            strongest(convolution, width, embedded, lengths)
            for convolution, width in zip(self.convolutions, self.widths, strict=True)
        ]
        return self.highway(torch.cat(pooled, dim=1))

    def highway(self, strongest: Tensor) -> Tensor:
        """Return the features that the logit is computed from, by the filters' maxima; (…, F) → (…, F)."""
        gate = torch.sigmoid(self.gate(strongest))
        return gate * F.relu(self.transform(strongest)) + (1 - gate) * strongest

    def score(self, features: Tensor) -> Tensor:
        """Return the logit that a sentence is real, by its features; (…, F) → (…)."""
        return self.output(self.dropout(features)).squeeze(-1)

    def penalty(self) -> Tensor:
        """Return 0.1 times the sum of squares of the output layer, the paper's L2 term; scalar."""
        return L2 * ((self.output.weight.square().sum() + self.output.bias.square().sum()) / 2)

    @staticmethod
    def _strongest(convolution: nn.Module, width: int, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Each filter's largest activation over the windows of a sentence; (B, T, E) → (B, filters)."""
        activations = F.relu(convolution(embedded.transpose(1, 2)))  # (B, filters, windows)
        start = torch.arange(activations.shape[2], device=lengths.device)
        outside = (start + width > lengths[:, None]) & (start > 0)
        # An activation is never negative, so 0 is as good as minus infinity.
        return activations.masked_fill(outside[:, None], 0).amax(dim=2)

    @staticmethod
    def _strongest_within(convolution: nn.Module, width: int, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The same by products of the real windows: the largest activation is that of the maximum."""
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        return F.relu(max_within(embedded, lengths, weight) + bias)


class MultiEmbeddingDiscriminator(nn.Module):
    """RelGAN's discriminator (Nie et al. 2019): one CNN over R embeddings of a sentence, a logit for each.

    Filters of four widths, the maximum of each over the sentence, a highway layer, dropout and two linear
    maps. Padding is the vector 0, and a filter's width of it always follows, so that its amount changes
    nothing. A score is an embedding's logit: `forward` returns B · R of them, the embeddings of a sentence
    side by side. So the relativistic loss compares an embedding with the same embedding of its partner.
    """

    compiled: ClassVar[tuple[str, ...]] = ("forward",)
    WIDTHS = (2, 3, 4, 5)

    def __init__(
        self, vocab_size: int, embeddings: int, embedding: int, *, filters: int, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.embedding = nn.Embedding(vocab_size, embeddings * embedding)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in self.WIDTHS)
        features = filters * len(self.WIDTHS)
        self.transform, self.gate = nn.Linear(features, features), nn.Linear(features, features)
        self.output = nn.Sequential(Dropout(dropout), nn.Linear(features, 100), nn.Linear(100, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B · R,)."""
        embedded = embed(self.embedding, tokens) * real_positions(tokens)[..., None]
        channels = (
            embedded.unflatten(2, (self.embeddings, -1)).permute(0, 2, 3, 1).flatten(0, 1)
        )  # (B R, E, T)
        pooled = [
            max_over_time(F.pad(channels, (0, width)), *each.parameters())
            for each, width in zip(self.convolutions, self.WIDTHS, strict=True)
        ]
        features = F.relu(torch.cat(pooled, dim=1))
        gate = torch.sigmoid(self.gate(features))
        features = gate * F.relu(self.transform(features)) + (1 - gate) * features
        of_sentences = features.unflatten(0, (-1, self.embeddings))  # dropout has the batch first
        return self.output(of_sentences).flatten()


SCORED_ROWS = 2048
"""Sentences scored at a time: bounds the memory of a convolutional discriminator's activations."""


def scores(discriminator: nn.Module, tokens: Tensor, *, rows: int = SCORED_ROWS) -> Tensor:
    """Return a discriminator's logits of whole sentences, without dropout or gradient; (R, T) → (R,).

    It reads `rows` at a time and is left in the mode it was in.
    """
    with evaluating(discriminator):
        return torch.cat([discriminator(part) for part in tokens.split(rows)])


def prefix_logits(reader: PrefixReader, tokens: Tensor) -> Tensor:
    """Return the logit that each prefix is of a real sentence; (B, T) → (B, T)."""
    features, _ = reader.read(tokens, reader.initial(len(tokens)))
    return reader.score(features)
