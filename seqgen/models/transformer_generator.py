"""The Transformer generator: pre-norm causal self-attention, as GPT-2 (Radford et al. 2019), with a cache.

Positions enter by rotating queries and keys (Su et al. 2021, "RoFormer"), which needs no table of positions
and therefore no longest sentence.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional.dropout import Dropout
from seqgen.models.base import Generator, GeneratorConfig
from seqgen.models.state import State, append

ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class TransformerConfig(GeneratorConfig):
    """The Transformer generator."""

    generator_class: ClassVar[str] = "seqgen.models.transformer_generator:TransformerGenerator"
    most_dropout: ClassVar[float] = 0.25  # it acts on every layer, too

    kind: str = "transformer"
    """rnn, transformer or relational-memory; each has settings of its own"""
    hidden: int = 192
    """width of a layer, an even multiple of the heads"""
    layers: int = 2
    """layers of attention and feed-forward network"""
    heads: int = 4
    """attention heads of a layer"""
    expansion: int = 4
    """width of the feed-forward network as a multiple of `hidden`"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, hidden=(2, None), layers=(1, None), heads=(1, None), expansion=(1, None))
        if self.hidden % (2 * self.heads):
            fitting = 2 * self.heads * max(1, round(self.hidden / (2 * self.heads)))
            raise UserError(
                f"setting generator.hidden={self.hidden} does not fit generator.heads={self.heads}: it must "
                f"be an even multiple of that, such as {fitting}"
            )


class TransformerGenerator(Generator):
    """Layers of causal self-attention and feed-forward networks between embedding and head.

    The state is keys and values of every position read so far, of the first layer, of the second and so on,
    (B, P, H) each. A latent vector joins the input of every step.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        hidden: int = 32,
        *,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.0,
        tied: bool = False,
        latent_dim: int = 0,
    ) -> None:
        super().__init__(vocab_size, embedding, dropout=dropout, latent_dim=latent_dim)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
        self.hidden_size, self.head_size = hidden, hidden // heads
        self.input = nn.Linear(self.input_size, hidden)
        self.layers = nn.ModuleList(_Layer(hidden, heads, expansion, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.add_head(hidden, tied=tied)

    def first_state(self, batch: int, latent: Tensor | None) -> State:
        """Return an empty cache."""
        nothing = self.input.weight.new_zeros(batch, 0, self.hidden_size)
        return (nothing, nothing) * len(self.layers)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read inputs (B, T, E + Z) after P others; → (B, T, H), the cache of P + T positions."""
        rotation = _rotation(state[0].shape[1], inputs.shape[1], self.head_size, inputs.device)
        hidden, after = self.input(inputs), []
        for i, layer in enumerate(self.layers):
            hidden, *cache = layer(hidden, *state[2 * i : 2 * i + 2], rotation)
            after += cache
        return self.norm(hidden), tuple(after)

    def own_latent_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the map of the inputs."""
        return [(self.input.weight, self.input.bias)]


class _Layer(nn.Module):
    """Self-attention and a feed-forward network, each after a LayerNorm and added to what came in."""

    compiled: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(self, hidden: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.merge = nn.Linear(hidden, hidden)
        self.feed_forward_norm = nn.LayerNorm(hidden)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, expansion * hidden), nn.GELU(), nn.Linear(expansion * hidden, hidden)
        )
        self.dropout = Dropout(dropout)

    def forward(
        self, hidden: Tensor, keys: Tensor, values: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read (B, T, H) after keys and values (B, P, H); → (B, T, H), keys and values (B, P + T, H)."""
        past, (_, new, width) = keys.shape[1], hidden.shape
        projected = self.query_key_value(self.attention_norm(hidden))
        turned = _rotate(projected[..., : 2 * width].unflatten(2, (2 * self.heads, -1)), rotation)
        query, key, value = (
            turned[:, :, : self.heads],
            turned[:, :, self.heads :],
            projected[..., 2 * width :],
        )
        keys, values = append(keys, key.flatten(2)), append(values, value)
        # A token alone sees all before it; several see those up to themselves, which has a switch of its own
        # where nothing was read before.
        mask = None
        if past and new > 1:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=hidden.device).tril(past)
        context = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            self._split(keys),
            self._split(values),
            attn_mask=mask,
            is_causal=bool(new > 1 and not past),  # of a size that is traced a tensor comes
        )
        hidden = hidden + self.dropout(self.merge(context.transpose(1, 2).flatten(2)))
        return hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden))), keys, values

    def _split(self, states: Tensor) -> Tensor:
        """(B, T, H) → (B, heads, T, H / heads)."""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _rotation(past: int, new: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of each position's angles, the sine negated in its first half; (T, 1, D)."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, size, 2, device=device) / size)
    angles = torch.arange(past, past + new, device=device)[:, None, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def _rotate(states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair of dimensions, i and i + D / 2, by its position's angle; (…, T, heads, D).

    Su et al. 2021, eq. 34.
    """
    cos, sin = (part.to(states.dtype) for part in rotation)
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin)
