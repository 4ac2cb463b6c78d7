"""Separate random states: sampling for a report does not change the random numbers of the training."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed torch within a `with` block, and restore its random state on every device at the end."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
