"""States of autoregressive models as tuples of batch-first tensors, and operations on their rows.

A part that has a position for every token read is copied with each, and with rows that join or leave. Loops
that need no state twice say so by `roomy`, and then it is not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""What a model keeps of the tokens it has read; `state[i].shape[0] == B` for every tensor."""
LEAST = 64
"""Rows and positions that a buffer has room for, where that many can come."""


def select(state: State, rows: Tensor | slice) -> State:
    """Take rows of the batch: indices, a boolean mask (B,) or a slice."""
    if isinstance(rows, Tensor) and rows.dtype == torch.long:
        return tuple(part.index_select(0, rows) for part in state)  # half the time of indexing
    return tuple(part[rows] for part in state)


def repeat(state: State, n: int) -> State:
    """Repeat every row n times, (B, …) → (B·n, …): row b becomes rows b·n … b·n + n - 1."""
    return tuple(part.repeat_interleave(n, dim=0) for part in state)


def roomy(state: State, rows: int, length: int) -> State:
    """Let parts that have no position yet, (B, 0, …), grow in place, to so many rows and positions at most.

    For loops without gradients that go on with what `append`, `branch` and `keep` return, and use no state
    after it has been given to one of them.
    """
    return tuple(
        _in(_Room(rows, length), part[:]) if part.dim() > 1 and not part.shape[1] else part for part in state
    )


def append(states: Tensor, new: Tensor) -> Tensor:
    """Return states of P tokens with those of T more after them, (B, P, …), (B, T, …) → (B, P + T, …)."""
    room = _room_of(states)
    if room is not None:
        return room.append(states, new)
    return torch.cat((states.to(new.dtype), new), dim=1) if states.shape[1] else new


def branch(state: State, rows: slice, n: int) -> State:
    """Add n copies of each of some rows after the last row, (B, …) → (B + rows · n, …)."""
    parts = []
    for part in state:
        room = _room_of(part)
        added = part[rows].repeat_interleave(n, dim=0) if room is None else part[rows]
        parts.append(torch.cat((part, added)) if room is None else room.branch(part, added, n))
    return tuple(parts)


def keep(state: State, rows: Tensor) -> State:
    """Take rows of the batch, (K,) different indices; in place a row that stays where it is costs nothing."""
    parts, moves = [], None
    for part in state:
        room = _room_of(part)
        if room is None:
            parts.append(part.index_select(0, rows))
            continue
        if moves is None:
            to = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
            moves = to, rows[to]
        parts.append(room.keep(part, len(rows), *moves))
    return tuple(parts)


@dataclass
class _Room:
    """A buffer (rows, positions, …) that holds one part of a state at its head.

    What lies beyond the head takes no memory before it is used.
    """

    most_rows: int
    most_positions: int
    buffer: Tensor | None = None

    def append(self, states: Tensor, new: Tensor) -> Tensor:
        rows, before = states.shape[:2]
        after = before + new.shape[1]
        buffer = self._reserved(states, rows, after, like=new)
        buffer[:rows, before:after] = new
        return _in(self, buffer[:rows, :after])

    def branch(self, states: Tensor, added: Tensor, n: int) -> Tensor:
        before, positions = states.shape[:2]
        after = before + len(added) * n
        buffer = self._reserved(states, after, positions, like=states)
        buffer[before:after, :positions].unflatten(0, (-1, n)).copy_(added[:, None])
        return _in(self, buffer[:after, :positions])

    def keep(self, states: Tensor, rows: int, to: Tensor, come: Tensor) -> Tensor:
        if len(to):
            states.index_copy_(0, to, states.index_select(0, come))
        return _in(self, states[:rows])

    def _reserved(self, states: Tensor, rows: int, positions: int, *, like: Tensor) -> Tensor:
        """Return a buffer with that much room, at its head the states."""
        has = (0, 0) if self.buffer is None else self.buffer.shape[:2]
        if self.buffer is None or rows > has[0] or positions > has[1]:
            size = (_room(has[0], rows, self.most_rows), _room(has[1], positions, self.most_positions))
            self.buffer = like.new_empty(*size, *like.shape[2:])
            self.buffer[: len(states), : states.shape[1]] = states
        return self.buffer


def _room(has: int, wanted: int, most: int) -> int:
    """Return how much room to make: so much more than is wanted now that it rarely has to be made again."""
    return has if wanted <= has else max(wanted, min(most, max(4 * wanted, LEAST)))


def _room_of(states: Tensor) -> _Room | None:
    return getattr(states, "room", None)


def _in(room: _Room, states: Tensor) -> Tensor:
    # An attribute of the tensor, so that models and what calls them have to do with tensors alone.
    states.room = room  # type: ignore[attr-defined]
    return states
