"""States of autoregressive models as tuples of batch-first tensors, and operations on their rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""What a model keeps of the tokens it has read; `state[i].shape[0] == B` for every tensor."""


def select(state: State, rows: Tensor | slice) -> State:
    """Take rows of the batch: indices, a boolean mask (B,) or a slice."""
    if isinstance(rows, Tensor) and rows.dtype == torch.long:
        return tuple(part.index_select(0, rows) for part in state)  # half the time of indexing
    return tuple(part[rows] for part in state)


def repeat(state: State, n: int) -> State:
    """Repeat every row n times, (B, …) → (B·n, …): row b becomes rows b·n … b·n + n - 1."""
    return tuple(part.repeat_interleave(n, dim=0) for part in state)


def concatenate(states: Sequence[State]) -> State:
    """Stack batches of states that have read equally many tokens, (B₁, …), (B₂, …) → (B₁ + B₂, …)."""
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
