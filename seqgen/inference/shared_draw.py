"""Sampling that several processes share: each draws its rows of a batch, and all of them get the whole."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seqgen.algorithms.base import TextAlgorithm
from seqgen.core import distributed
from seqgen.generation.sample import Samples

Draw = Callable[..., Samples]
"""Draws so many samples by random numbers `rng`, with options that have as many rows."""


def is_by_rows(algorithm: TextAlgorithm, options: Mapping[str, Any]) -> bool:
    """Whether the random numbers of a sample are its own: not where it is chosen among others."""
    return not algorithm.takes_candidates and options.get("search") is None


def divided(draw: Draw, *, by_rows: bool = True) -> Draw:
    """Return a draw whose samples are those of one process, as is the random state after it.

    by_rows: whether the random numbers of a sample are its own; if not, every process draws all samples.
    """

    def shared(n: int, rng: torch.Generator, **given: Tensor) -> Samples:
        if not by_rows or n % distributed.count():
            return draw(n, rng=rng, **given)
        with distributed.sharded():
            own = {name: distributed.shard(part) for name, part in given.items()}
            return Samples(*map(distributed.gather, draw(distributed.part(n), rng=rng, **own)))

    return shared
