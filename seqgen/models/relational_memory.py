"""The relational memory core as a generator (Santoro et al. 2018; Nie et al. 2019, RelGAN).

A few memory slots attend, at every step, over themselves and the new input; gates decide what each slot
keeps. What differs from the papers: nothing in the core; the slots, read in a row, are what the head reads,
as in RelGAN's code.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.models.base import Generator, GeneratorConfig
from seqgen.models.state import State

FORGET_BIAS, INPUT_BIAS = 1.0, 0.0
"""Added to the gates' logits: at first a slot keeps most of what it holds (Santoro et al. 2018, appendix)."""


@dataclass(frozen=True)
class RelationalMemoryConfig(GeneratorConfig):
    """The relational memory; RelGAN has embeddings of 32, one slot, two heads of 256."""

    generator_class: ClassVar[str] = "seqgen.models.relational_memory:RelationalMemoryGenerator"

    kind: str = "relational-memory"
    """rnn, transformer or relational-memory; each has settings of its own"""
    embedding: int = 32
    """size of a token's embedding"""
    slots: int = 1
    """memory slots"""
    heads: int = 2
    """attention heads"""
    head_size: int = 128
    """size of a head; a slot has heads × head_size numbers"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, slots=(1, None), heads=(1, None), head_size=(1, None))


class RelationalMemoryGenerator(Generator):
    """Memory slots (B, M, S) that attend over themselves and the input between embedding and head.

    The state is the memory alone. A latent vector is added to the first memory, by a linear map, and joins
    the input of every step. M slots, S = heads × head_size.
    """

    compiled: ClassVar[tuple[str, ...]] = ("_step",)

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        *,
        slots: int = 1,
        heads: int = 2,
        head_size: int = 128,
        dropout: float = 0.0,
        tied: bool = False,
        latent_dim: int = 0,
    ) -> None:
        super().__init__(vocab_size, embedding, dropout=dropout, latent_dim=latent_dim)
        self.slots, self.heads, self.slot_size = slots, heads, heads * head_size
        size = self.slot_size
        self.input = nn.Linear(self.input_size, size)
        self.from_latent = nn.Linear(latent_dim, slots * size) if latent_dim else None
        self.query = nn.Linear(size, size)
        self.key_value = nn.Linear(size, 2 * size)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        self.input_gates = nn.Linear(size, 2 * size)
        self.memory_gates = nn.Linear(size, 2 * size, bias=False)
        self.add_head(slots * size, tied=tied)

    def first_state(self, batch: int, latent: Tensor | None) -> State:
        """Return slots that are told apart by one-hot rows (Santoro et al. 2018), the latent vector added."""
        memory = torch.eye(self.slots, self.slot_size, device=self.input.weight.device)
        memory = memory.to(self.input.weight.dtype).expand(batch, -1, -1)
        if latent is None or self.from_latent is None:
            return (memory.contiguous(),)
        return (memory + self.from_latent(latent).unflatten(1, (self.slots, -1)),)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read inputs (B, T, E + Z) one by one; → the memory after each (B, T, M · S), the last memory."""
        (memory,) = state
        projected = self.input(inputs)
        gates = self.input_gates(projected)
        memories = []
        for t in range(inputs.shape[1]):
            memory = self._step(projected[:, t, None], gates[:, t, None], memory)
            memories.append(memory.flatten(1))
        return torch.stack(memories, dim=1), (memory,)

    def own_latent_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the map to the first memory, and that of the inputs."""
        assert self.from_latent is not None, "a generator without a latent vector has no such layer"
        return [(self.from_latent.weight, self.from_latent.bias), (self.input.weight, self.input.bias)]

    def _step(self, projected: Tensor, input_gates: Tensor, memory: Tensor) -> Tensor:
        """Update the memory (B, M, S) by one input (B, 1, S), whose part of the gates is (B, 1, 2S)."""
        seen = torch.cat((memory, projected), dim=1)
        key, value = self.key_value(seen).chunk(2, dim=-1)
        query, key, value = (self._split(part) for part in (self.query(memory), key, value))
        context = F.scaled_dot_product_attention(query, key, value)
        proposed = self.attention_norm(memory + context.transpose(1, 2).flatten(2))
        proposed = self.feed_forward_norm(proposed + self.feed_forward(proposed))
        keep, write = (input_gates + self.memory_gates(torch.tanh(memory))).chunk(2, dim=-1)
        return torch.sigmoid(keep + FORGET_BIAS) * memory + torch.sigmoid(write + INPUT_BIAS) * torch.tanh(
            proposed
        )

    def _split(self, states: Tensor) -> Tensor:
        """(B, M, S) → (B, heads, M, head_size)."""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)
