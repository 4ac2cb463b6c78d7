"""Discriminators: recurrent and convolutional networks that say how likely a sentence is to be real."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seqgen.data.tokenizer import PAD
from seqgen.models.base import evaluating
from seqgen.models.rnn_generator import CELLS
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


def real_positions(tokens: Tensor) -> Tensor:
    """Mark what is not padding: ids (B, T), or soft one-hots (B, T, V) by their argmax → (B, T)."""
    return (tokens.argmax(dim=-1) if tokens.is_floating_point() else tokens) != PAD


def embed(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
    """Look ids (B, T) up, or mix the vectors by soft one-hots (B, T, V); → (B, T, E)."""
    return tokens @ embedding.weight if tokens.is_floating_point() else embedding(tokens)


class RNNDiscriminator(nn.Module):
    """Recurrent discriminator: the state after the last real token → the logit that the sentence is real.

    A unidirectional one also reads sentence beginnings a few tokens at a time (`initial`, `read`, `score`),
    so that continuations of one beginning share the reading of it. A bidirectional one needs whole sentences.
    Dropout is applied to the embeddings, between the layers and to what the logit is computed from. With a
    `code` of Z numbers it gives a code in place of the logit, by a projection head (Chen et al. 2020,
    SimCLR): (…, Z) where (…) is written below.
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
        code: int = 0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.code = code
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.rnn = CELLS[cell](
            embedding,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
            batch_first=True,
        )
        self.dropout = nn.Dropout(dropout)
        features = 2 * hidden if bidirectional else hidden
        self.output: nn.Module = nn.Linear(features, 1) if not code else projection_head(features, code)

    @property
    def bidirectional(self) -> bool:
        return self.rnn.bidirectional

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        lengths = real_positions(tokens).sum(dim=1).clamp(min=1)
        if self.bidirectional:
            return self.score(self._both_ends(embed(self.embedding, tokens), lengths))
        features, _ = self.read(tokens, self.initial(tokens.shape[0]))
        return self.score(features[torch.arange(tokens.shape[0], device=tokens.device), lengths - 1])

    def initial(self, batch: int) -> State:
        """The state before anything was read: zeros, (h,) or (h, c), each (B, layers, H)."""
        if self.bidirectional:
            raise ValueError(
                "a bidirectional discriminator has no state after a beginning; read whole sentences"
            )
        parts = 2 if isinstance(self.rnn, nn.LSTM) else 1
        shape = (batch, self.rnn.num_layers, self.rnn.hidden_size)
        return tuple(self.embedding.weight.new_zeros(shape) for _ in range(parts))

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T more tokens, ids (B, T) or soft ones (B, T, V); → features after each (B, T, H), State."""
        given = tuple(part.transpose(0, 1).contiguous() for part in state)
        embedded = self.dropout(embed(self.embedding, tokens))
        if isinstance(self.rnn, nn.LSTM):
            features, (h, c) = self.rnn(embedded, given)
            return features, (h.transpose(0, 1), c.transpose(0, 1))
        features, h = self.rnn(embedded, given[0])
        return features, (h.transpose(0, 1),)

    def score(self, features: Tensor) -> Tensor:
        """Features after the last real token, (…, H) → the logit that the sentence is real, (…)."""
        scores = self.output(self.dropout(features))
        return scores if self.code else scores.squeeze(-1)

    def _both_ends(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Join the last layer's states at the end (forwards) and at the start (backwards); → (B, 2H)."""
        embedded = self.dropout(embedded)
        if bool((lengths == embedded.shape[1]).all()):  # packing costs the fast kernels
            _, last = self.rnn(embedded)
        else:
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            _, last = self.rnn(packed)
        h = last[0] if isinstance(self.rnn, nn.LSTM) else last
        return torch.cat((h[-2], h[-1]), dim=-1)


def projection_head(features: int, code: int) -> nn.Sequential:
    """Return a fresh map of two layers from an encoder's features to the code that a loss compares.

    Batch normalisation ends it, as in SimCLR: without it all codes lie in one narrow cone, where cosines are
    near 1 whatever is learnt, and so are their slopes near 0.
    """
    hidden = nn.Linear(features, features)
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(features, code), nn.BatchNorm1d(code, affine=False))


class CNNDiscriminator(nn.Module):
    """Convolutional discriminator of SeqGAN (Yu et al. 2017; Zhang & LeCun 2015), with padding left out.

    Filters of many widths, the maximum of each over the sentence, a highway layer (Srivastava et al. 2015),
    dropout and a linear map. `scale` multiplies every number of filters. The paper keeps units with
    probability 0.75, which is dropout 0.25, and adds 0.2 times `penalty()` to the loss. Differences: one
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
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(total, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        real = real_positions(tokens)
        lengths = real.sum(dim=1)
        embedded = (embed(self.embedding, tokens) * real[..., None]).transpose(1, 2)  # (B, E, T)
        pooled = [
            self._strongest(convolution, width, embedded, lengths)
            for convolution, width in zip(self.convolutions, self.widths, strict=True)
        ]
        features = torch.cat(pooled, dim=1)
        gate = torch.sigmoid(self.gate(features))
        features = gate * F.relu(self.transform(features)) + (1 - gate) * features
        return self.output(self.dropout(features)).squeeze(-1)

    def penalty(self) -> Tensor:
        """Half the sum of squares of the output layer, a scalar: the L2 term of the paper's code."""
        return (self.output.weight.square().sum() + self.output.bias.square().sum()) / 2

    @staticmethod
    def _strongest(convolution: nn.Module, width: int, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Each filter's largest activation over the windows of a sentence; (B, E, T) → (B, filters)."""
        short = max(0, width - embedded.shape[2])
        activations = F.relu(convolution(F.pad(embedded, (0, short))))  # (B, filters, windows)
        start = torch.arange(activations.shape[2], device=lengths.device)
        outside = (start + width > lengths[:, None]) & (start > 0)
        # An activation is never negative, so 0 is as good as minus infinity.
        return activations.masked_fill(outside[:, None], 0).amax(dim=2)


SCORED_ROWS = 2048
"""Sentences scored at a time: bounds the memory of a convolutional discriminator's activations."""


def scores(discriminator: nn.Module, tokens: Tensor, *, rows: int = SCORED_ROWS) -> Tensor:
    """The discriminator's logits of whole sentences, without dropout or gradient; (R, T) → (R,).

    `rows` are read at a time. The discriminator is left in the mode it was in.
    """
    with evaluating(discriminator):
        return torch.cat([discriminator(part) for part in tokens.split(rows)])
