"""Batches of token ids, padded and bucketed by length: an endless seeded stream, or one pass in order."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from seqgen.core import cache
from seqgen.core.settings import LARGEST
from seqgen.core.untrusted import is_of
from seqgen.data.batch import Batch
from seqgen.data.token_ids import Ids, encode_lines, pack


class Stream:
    """A stream of batches that counts what it yields and resumes from a saved count."""

    _step = 0
    """Batches yielded so far."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    @abstractmethod
    def _identity(self) -> dict[str, int]:
        """Return everything that determines the order of the batches."""

    @property
    def epoch(self) -> float:
        """Epochs completed so far, a fraction included."""
        return self._step / len(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what determines the order of the batches."""
        return {"step": self._step, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved position; raise ValueError if the order of its batches was another."""
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"the saved batch order has {name} {state[name]}, not {value}")
        if not is_of(int, state["step"]) or not 0 <= state["step"] <= LARGEST:
            raise ValueError(f"the saved batch order is at step {state['step']!r:.80}")
        self._step = state["step"]


__all__ = ["Batches", "Ids", "bounded_rows", "encode_lines", "in_order", "pack"]

POOL = 100
"""Batches in a pool: sentences are sorted by length within a pool only."""

RELEASE_BYTES = 1 << 28
"""Larger files of token ids release their pages after each pool, so that they do not fill the memory."""


class Batches(Stream, Iterator[Batch]):
    """An endless stream of batches that contains every sentence once an epoch.

    Each epoch is a new permutation, divided into pools of `POOL` batches. A pool is sorted by length and
    divided into batches, whose order is then shuffled, so the sentences of a batch have similar lengths and
    little padding. Without `bucket_by_length` a pool is not sorted, and the lengths in a batch are
    distributed as in the corpus. The last batch of an epoch may be smaller.

    The order depends on the lengths of the sentences, `batch_size`, `seed` and `bucket_by_length` only, and
    the position is one number, so a restored stream yields exactly the same batches.
    """

    def __init__(self, ids: Ids, batch_size: int, *, seed: int, bucket_by_length: bool = True):
        if not len(ids):
            raise ValueError("there are no sentences to make batches of")
        if batch_size < 1:
            raise ValueError(f"a batch size of {batch_size} is too small; give 1 or more")
        self._ids = ids
        self._batch_size = batch_size
        self._seed = seed
        self._bucket_by_length = bucket_by_length
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._pool: tuple[tuple[int, int], list[np.ndarray]] = ((-1, -1), [])

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
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
        """Return the indices of the sentences of batch `index` of the stream; (B,)."""
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
    """Yield every sentence once, from the shortest to the longest: token ids (B, T) and their indices (B,).

    `results[indices] = …` stores a result of each sentence in the order of the corpus.
    """
    order = np.argsort(ids.lengths(), kind="stable")
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        yield ids.batch(rows), rows


def bounded_rows(lengths: np.ndarray, *, rows: int = 128, positions: int = 32_768) -> Iterator[np.ndarray]:
    """Yield the indices of all sentences, short ones first, in batches of bounded size.

    lengths (N,). A batch has at most `rows` sentences, and at most `positions` tokens, padding included; a
    longer sentence is a batch of its own, so that one very long line costs no more than itself.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[min(start + rows, len(order)) - 1]])
        stop = start + max(1, min(rows, positions // max(1, longest)))
        yield order[start:stop]
        start = stop
