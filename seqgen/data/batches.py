"""Batches of token ids, padded and grouped by length: an endless seeded stream, and one pass in order."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from seqgen.core import cache
from seqgen.data.batch import Batch
from seqgen.data.token_ids import Ids, encode_lines, pack


class Stream:
    """What every stream of batches does: it counts its batches, and goes on from a saved count."""

    _step = 0
    """Batches given so far."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the batches of an epoch."""

    @abstractmethod
    def _identity(self) -> dict[str, int]:
        """Return what the order of the stream depends on."""

    @property
    def epoch(self) -> float:
        """Epochs of the stream done so far."""
        return self._step / len(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what else the stream depends on."""
        return {"step": self._step, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; ValueError where it belongs to another stream."""
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"the saved batch order has {name} {state[name]}, not {value}")
        self._step = state["step"]


__all__ = ["Batches", "Ids", "bounded_rows", "encode_lines", "in_order", "pack"]

POOL = 100
"""Batches drawn at random together, among which sentences are then grouped by length."""

RELEASE_BYTES = 1 << 28
"""Files of ids larger than this give their pages back after each pool, so as not to fill the memory."""


class Batches(Stream, Iterator[Batch]):
    """An endless stream of batches that visits every sentence once an epoch.

    Each epoch is a new permutation, cut into pools of `POOL` batches; a pool is sorted by length, cut into
    batches, and these are shuffled. Rows of a batch are of similar length; PAD fills the rest. Unless
    `bucket_by_length` a pool is not sorted, and a batch is a fair sample of the lengths of the corpus. The
    last batch of an epoch may be short.

    The stream depends on the sentences' lengths, `batch_size` and `seed` alone; a position in it is one
    number, so a restored state goes on with exactly the same batches.
    """

    def __init__(self, ids: Ids, batch_size: int, *, seed: int, bucket_by_length: bool = True):
        if not len(ids):
            raise ValueError("no sentences to make batches of")
        if batch_size < 1:
            raise ValueError(f"a batch size of {batch_size} makes no batch; give 1 or more")
        self._ids = ids
        self._batch_size = batch_size
        self._seed = seed
        self._bucket_by_length = bucket_by_length
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._pool: tuple[tuple[int, int], list[np.ndarray]] = ((-1, -1), [])

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return math.ceil(len(self._ids) / self._batch_size)

    def __next__(self) -> Batch:
        """Return the next batch; its tokens are int64 (B, T)."""
        rows = self._rows(self._step)
        self._step += 1
        return Batch(self._ids.batch(rows))

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self._seed,
            "sentences": len(self._ids),
            "batch_size": self._batch_size,
            "bucket_by_length": self._bucket_by_length,
        }

    def _rows(self, index: int) -> np.ndarray:
        """Return the sentences of the stream's batch `index`."""
        epoch, at = divmod(index, len(self))
        pool, at = divmod(at, POOL)
        if self._pool[0] != (epoch, pool):
            if len(self._ids.mapped) > RELEASE_BYTES:
                cache.release(self._ids.mapped)
            self._pool = (epoch, pool), self._draw_pool(epoch, pool)
        return self._pool[1][at]

    def _draw_pool(self, epoch: int, pool: int) -> list[np.ndarray]:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._order = epoch, rng.permutation(len(self._ids))
        size = POOL * self._batch_size
        rows = self._order[1][pool * size : (pool + 1) * size]
        if self._bucket_by_length:
            rows = rows[np.argsort(self._ids.lengths(rows), kind="stable")]
        batches = np.split(rows, np.arange(self._batch_size, len(rows), self._batch_size))
        shuffled = np.random.default_rng([self._seed, epoch, pool]).permutation(len(batches))
        return [batches[at] for at in shuffled]


def in_order(ids: Ids, batch_size: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield every sentence once, from the shortest to the longest: tokens (B, T) and their rows (B,).

    A result of each sentence is put in its place by `results[rows] = …`.
    """
    order = np.argsort(ids.lengths(), kind="stable")
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        yield ids.batch(rows), rows


def bounded_rows(lengths: np.ndarray, *, rows: int = 128, positions: int = 32_768) -> Iterator[np.ndarray]:
    """Yield the numbers of all sentences, short ones first, so that no batch has many rows or positions.

    `positions` bounds rows times the longest length (N,); a sentence that is longer makes a batch of its own,
    so one huge line costs no more than itself.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[min(start + rows, len(order)) - 1]])
        stop = start + max(1, min(rows, positions // max(1, longest)))
        yield order[start:stop]
        start = stop
