"""The generator's interface: what sampling, rollouts and losses ask of an autoregressive model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: object) -> Iterator[None]:
    """Switch dropout off (eval mode) and gradients off inside; restore each module's own mode after."""
    modules = [m for m in module.modules() if m.training] if isinstance(module, nn.Module) else []
    for m in modules:
        m.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for m in modules:
            m.training = True
