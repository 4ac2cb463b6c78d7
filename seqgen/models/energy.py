"""The energy of a sentence: the logit by which real sentences are told from a generator's.

f(x) = a linear part over named summaries plus a network as its remainder. Both read what the generator says
of the sentence: the log-probability of each of its tokens. The network may also read the state from which the
generator predicts each token, and the products whose sum is the token's logit: what the generator has learnt
of the sentence so far need not be learnt again, only where it is wrong.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.core.device import leaves_out
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD
from seqgen.functional.dropout import Dropout
from seqgen.models.discriminator import reverse
from seqgen.models.recurrent_layers import LSTM

LOG_PROB_SCALE = 0.3
"""Factor of a token's log-probability beside its embedding: nats are larger than embeddings."""
EMBEDDING_DEVIATION = 0.4
"""Standard deviation of the embedding that is taken over from a generator."""
REST = 0.1
"""Standard deviation of what an embedding has beyond that: noise as large would hide what words are alike."""
WIDTHS = (1, 2, 3, 4, 5)
"""Tokens that a filter of the convolutional network covers."""


@dataclass(frozen=True)
class EnergyConfig:
    """The energy and its network."""

    network: Literal["rnn", "transformer", "cnn", "none"] = "rnn"
    """bidirectional LSTM, Transformer encoder, convolutions, or the linear part alone"""
    linear: bool | None = None
    """a linear part over summaries of the sentence; none: where cross-fitted, as it is quick to see how
    likely a generator finds the sentences that it was trained on"""
    embedding: int = 64
    """size of a token's embedding"""
    states: int | None = None
    """size of what it reads of the generator's state before each token, and of what makes the token's logit;
    0 for nothing; none: 64 where `cross_fitting=auto` finds no need of it, else 0"""
    hidden: int = 96
    """units of each direction of an rnn, width of a transformer, filters of each width of a cnn"""
    layers: int = 1
    """layers of an rnn or a transformer"""
    heads: int = 4
    """attention heads of a transformer"""
    dropout: float = 0.1
    """fraction dropped of embeddings and of what the last layers read"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            embedding=(1, None),
            states=(0, None),
            hidden=(1, None),
            layers=(1, None),
            heads=(1, None),
            dropout=(0.0, 0.99),
        )
        if self.network == "none" and self.linear is False:
            raise UserError(
                "energy.network=none with energy.linear=false leaves nothing to learn; leave one of them out"
            )

    def build(self, vocab_size: int, summaries: int, state_size: int) -> "SentenceEnergy":
        """Return a fresh energy, 0 for every sentence; state_size: units of the generator's states."""
        return SentenceEnergy(vocab_size, summaries, state_size, self)


class Read(NamedTuple):
    """Sentences, and what their generator says of them."""

    tokens: Tensor
    """(B, T)"""
    log_probs: Tensor
    """of the tokens; (B, T)"""
    states: Tensor | None = None
    """from which the tokens are predicted; (B, T, H), or None where they are not read"""
    head: Tensor | None = None
    """the weight by which the states give logits, (V, H), where they are read"""


class SentenceEnergy(nn.Module):
    """Tokens, their log-probabilities and summaries of a sentence → its energy; padding changes nothing."""

    mean: Tensor
    """Mean of each summary, by which it is centred; (S,)."""
    deviation: Tensor
    """Standard deviation of each summary, by which it is divided; (S,)."""

    def __init__(self, vocab_size: int, summaries: int, state_size: int, config: EnergyConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(summaries))
        self.register_buffer("deviation", torch.ones(summaries))
        self.linear = nn.Linear(summaries, 1) if config.linear else None
        self.embedding: nn.Embedding | None = None
        self.network: _RNN | _Transformer | _CNN | None = None
        last = nn.Linear(128, 1)
        self.of_states: _OfStates | None = None
        if config.network != "none":
            self.embedding = nn.Embedding(vocab_size, config.embedding)
            self.network = NETWORKS[config.network](config.embedding + 1, config)
            features = self.network.features
            if config.states:
                self.of_states = _OfStates(config.embedding + 1, state_size, config.states, config)
                features += self.of_states.features
            first = nn.Linear(features + 1, 128)
            drops = (Dropout(config.dropout) for _ in range(2))
            self.output = nn.Sequential(next(drops), first, nn.LeakyReLU(0.1), next(drops), last)
        self.dropout = Dropout(config.dropout)
        for layer in (self.linear, last):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def reads_states(self) -> bool:
        """Whether it reads the states from which the generator predicts the tokens."""
        return self.of_states is not None

    def forward(self, read: Read, summaries: Tensor) -> Tensor:
        """Return the energies of B sentences, in nats; summaries (B, S) → (B,)."""
        tokens, log_probs, *_ = read
        total = log_probs.new_zeros(len(tokens))
        if self.linear is not None:
            total = total + self.linear(self.standardised(summaries))[:, 0]
        if self.network is not None and self.embedding is not None:
            real = tokens != PAD
            known = log_probs.where(real, 0.0)[..., None] * LOG_PROB_SCALE
            inputs = torch.cat((self.dropout(self.embedding(tokens)), known), dim=2)
            length = real.sum(dim=1, keepdim=True).clamp(min=1)
            mean = known.sum(dim=(1, 2))[:, None] / length.sqrt()
            features = [self.network(inputs * real[..., None], real), mean]
            if self.of_states is not None:
                features.append(self.of_states(inputs, read))
            total = total + self.output(torch.cat(features, dim=1))[:, 0]
        return total

    def standardised(self, summaries: Tensor) -> Tensor:
        """Return summaries centred and scaled as `standardise` says; (B, S) → (B, S)."""
        return (summaries - self.mean) / self.deviation

    @torch.no_grad()
    def standardise(self, summaries: Tensor) -> None:
        """Centre and scale summaries from now on by those of many sentences, (N, S).

        One that is the same for all of them is only centred: what differs later would else be a huge number.
        """
        deviation = summaries.std(dim=0)
        self.mean.copy_(summaries.mean(dim=0))
        self.deviation.copy_(deviation.where(deviation > 1e-3, 1.0))

    @torch.no_grad()
    def standardise_states(self, read: Read) -> None:
        """Divide states and rows of the head from now on by their standard deviations in many sentences."""
        if self.of_states is not None and read.states is not None and read.head is not None:
            real = read.tokens != PAD
            self.of_states.state_deviation.copy_(read.states[real].std().clamp(min=1e-6))
            self.of_states.row_deviation.copy_(read.head[read.tokens[real]].std().clamp(min=1e-6))

    @torch.no_grad()
    def take_over_embedding(self, weight: Tensor) -> None:
        """Start from a generator's embedding (V, E), by its directions of largest variance.

        From few sentences a discriminator learns little of what words are alike; the generator has.
        """
        if self.embedding is None:
            return
        centred = weight.float() - weight.float().mean(dim=0)
        left, values, _ = torch.linalg.svd(centred, full_matrices=False)
        kept = min(self.embedding.embedding_dim, len(values))
        coordinates = left[:, :kept] * values[:kept]
        scale = EMBEDDING_DEVIATION / coordinates.std().clamp(min=1e-6)
        self.embedding.weight[:, :kept] = scale * coordinates
        self.embedding.weight[:, kept:] *= REST  # drawn from N(0, 1)


class _OfStates(nn.Module):
    """What states and logits of the generator say of its tokens: two layers; mean and maximum over tokens.

    Where the states are read by the recurrent layers instead, these learn the grammar of `scenes` far later.
    """

    state_deviation: Tensor
    row_deviation: Tensor

    def __init__(self, inputs: int, state_size: int, size: int, config: EnergyConfig) -> None:
        super().__init__()
        self.states, self.products = (nn.Linear(state_size, size) for _ in range(2))
        self.layers = nn.Sequential(
            nn.Linear(inputs + 2 * size, 128),
            nn.LeakyReLU(0.1),
            nn.Linear(128, config.hidden),
            nn.LeakyReLU(0.1),
        )
        self.dropout = Dropout(config.dropout)
        self.register_buffer("state_deviation", torch.ones(()))
        self.register_buffer("row_deviation", torch.ones(()))
        self.features = 2 * config.hidden

    def forward(self, inputs: Tensor, read: Read) -> Tensor:
        tokens, _, states, head = read
        assert states is not None
        assert head is not None
        real = tokens != PAD
        # Padding is left out but in training: dropout there is the same where processes share the batch.
        is_flat = leaves_out(tokens.device) and not self.training
        kept = real.nonzero(as_tuple=True) if is_flat else None
        if kept is not None:
            tokens, states, inputs = tokens[kept], states[kept], inputs[kept]
        states = states / self.state_deviation
        products = states * (head[tokens] / self.row_deviation)
        parts = (inputs, self.dropout(self.states(states)), self.dropout(self.products(products)))
        found = self.layers(torch.cat(parts, dim=-1))
        if kept is not None:
            found = found.new_zeros(*real.shape, found.shape[1]).index_put(kept, found)
        return _pooled(found, real)


class _RNN(nn.Module):
    """LSTM layers for either direction; mean, maximum and last states."""

    def __init__(self, inputs: int, config: EnergyConfig) -> None:
        super().__init__()
        between = config.dropout if config.layers > 1 else 0.0
        how = {"num_layers": config.layers, "dropout": between, "batch_first": True}
        self.forwards, self.backwards = (LSTM(inputs, config.hidden, **how) for _ in range(2))
        self.features = 6 * config.hidden

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        lengths = real.sum(dim=1).clamp(min=1)
        states = torch.cat((self.forwards(inputs)[0], self.backwards(reverse(inputs, lengths))[0]), dim=2)
        last = states[torch.arange(len(inputs), device=inputs.device), lengths - 1]
        return torch.cat((_pooled(states, real), last), dim=1)


class _Transformer(nn.Module):
    """A Transformer encoder, sinusoidal positions (Vaswani et al. 2017); mean and maximum of its states."""

    def __init__(self, inputs: int, config: EnergyConfig) -> None:
        super().__init__()
        width = -(-config.hidden // (2 * config.heads)) * 2 * config.heads
        self.input = nn.Linear(inputs, width)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )
        # Of attention alone the masks are not drawn for a whole batch that processes share.
        layer.dropout, layer.dropout1, layer.dropout2 = (Dropout(config.dropout) for _ in range(3))
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.features = 2 * width

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        hidden = self.input(inputs)
        width = hidden.shape[2]
        rates = torch.exp(torch.arange(0, width, 2, device=hidden.device) * (-math.log(1e4) / width))
        angles = torch.arange(hidden.shape[1], device=hidden.device)[:, None] * rates
        positions = torch.cat((angles.sin(), angles.cos()), dim=1).to(hidden.dtype)
        # A row of padding alone would attend to nothing: its first position counts as real.
        padding = ~real & (torch.arange(real.shape[1], device=real.device) > 0)
        return _pooled(self.layers(hidden + positions, src_key_padding_mask=padding), real)


class _CNN(nn.Module):
    """Filters of five widths; the maximum of each over the sentence, whose ends are padded by zeros."""

    def __init__(self, inputs: int, config: EnergyConfig) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, config.hidden, width) for width in WIDTHS)
        self.features = config.hidden * len(WIDTHS)

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        channels = inputs.transpose(1, 2)
        pooled = [
            F.relu(each(F.pad(channels, (width - 1, width)))).amax(dim=2)
            for width, each in zip(WIDTHS, self.convolutions, strict=True)
        ]
        return torch.cat(pooled, dim=1)


NETWORKS: dict[str, type[_RNN] | type[_Transformer] | type[_CNN]] = {
    "rnn": _RNN,
    "transformer": _Transformer,
    "cnn": _CNN,
}


def _pooled(states: Tensor, real: Tensor) -> Tensor:
    """Mean and maximum of states over the real positions; (B, T, H) → (B, 2 H)."""
    mask = real[..., None]
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    largest = states.masked_fill(~mask, -1e4).amax(dim=1).where(real.any(dim=1, keepdim=True), 0.0)
    return torch.cat((mean, largest), dim=1)
