"""A random state of one's own: what is drawn inside does not change what is drawn after."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed torch for the block and give the training's random state back after it."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
