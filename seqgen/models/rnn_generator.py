"""The recurrent generator: an LSTM or GRU language model that can be stepped, branched and teacher-forced."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.models.base import Generator, GeneratorConfig
from seqgen.models.recurrent_layers import CELLS, recur
from seqgen.models.state import State, append


@dataclass(frozen=True)
class RNNConfig(GeneratorConfig):
    """The recurrent generator."""

    generator_class: ClassVar[str] = "seqgen.models.rnn_generator:RNNGenerator"

    cell: Literal["lstm", "gru"] = "lstm"
    """recurrent cell"""
    hidden: int = 192
    """units of a recurrent layer"""
    layers: int = 1
    """recurrent layers"""
    attention: bool = False
    """attend over the generator's own past states"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, hidden=(1, None), layers=(1, None))


class CausalAttention(nn.Module):
    """One head of attention from every state to itself and the states before it, added to the state.

    Keys and values of the past are arguments and results, so that one step at a time equals all at once.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.value = nn.Linear(hidden, hidden, bias=False)
        self.merge = nn.Linear(hidden, hidden, bias=False)

    def forward(self, states: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from T new states (B, T, H) to P past ones (B, P, H) and the new ones up to themselves.

        Returns the states with what they attended to added (B, T, H), and the keys and values (B, P + T, H).
        """
        past, new = keys.shape[1], states.shape[1]
        keys, values = append(keys, self.key(states)), append(values, self.value(states))
        visible = torch.ones(new, past + new, dtype=torch.bool, device=states.device).tril(past)
        context = F.scaled_dot_product_attention(self.query(states), keys, values, attn_mask=visible)
        return states + self.merge(context), keys, values


class RNNGenerator(Generator):
    """LSTM or GRU layers between embedding and head, with attention over its own states where asked for.

    The state is (h,) for a GRU, (h, c) for an LSTM, each (B, layers, H), followed with attention by the keys
    and values of every position read so far, (B, P, H) each. A latent vector makes the first hidden state and
    joins the input of every step (Bowman et al. 2016).
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        hidden: int = 32,
        *,
        layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        tied: bool = False,
        attention: bool = False,
        latent_dim: int = 0,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        super().__init__(vocab_size, embedding, dropout=dropout, latent_dim=latent_dim)
        self.layers = layers
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](self.input_size, hidden, num_layers=layers, dropout=between, batch_first=True)
        self.from_latent = nn.Linear(latent_dim, layers * hidden) if latent_dim else None
        self.attention = CausalAttention(hidden) if attention else None
        self.add_head(hidden, tied=tied)

    def first_state(self, batch: int, latent: Tensor | None) -> State:
        """Return zeros, or a hidden state made of the latent vector; no cell state, nothing to attend to."""
        if latent is None or self.from_latent is None:
            hidden = self.embedding.weight.new_zeros(batch, self.layers, self.rnn.hidden_size)
        else:
            hidden = torch.tanh(self.from_latent(latent)).unflatten(1, (self.layers, -1))
        parts = (hidden, torch.zeros_like(hidden)) if isinstance(self.rnn, nn.LSTM) else (hidden,)
        if self.attention is None:
            return parts
        nothing = hidden.new_zeros(len(hidden), 0, self.rnn.hidden_size)
        return (*parts, nothing, nothing)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read inputs (B, T, E + Z); → (B, T, H), State."""
        states, after = recur(self.rnn, inputs, state)
        if self.attention is None:
            return states, after
        states, keys, values = self.attention(states, *state[len(after) :])
        return states, (*after, keys, values)

    def own_latent_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the map to the first hidden state, and the first recurrent layer's of its input."""
        assert self.from_latent is not None, "a generator without a latent vector has no such layer"
        first = dict(self.rnn.named_parameters())
        return [
            (self.from_latent.weight, self.from_latent.bias),
            (first["weight_ih_l0"], first["bias_ih_l0"]),
        ]
