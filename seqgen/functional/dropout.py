"""Dropout whose random numbers cost little on the CPU.

torch draws a Bernoulli number an element there, which for an embedding of 256 takes a quarter of the training
step of an LSTM; here an element takes 16 of the bits of a random number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core.device import is_host

LEVELS = 2**16
"""A rate is rounded to one in so many on the CPU."""
ELEMENTS_A_DRAW = 4
"""Elements to which one random number of 64 bits is dealt out."""


class Dropout(nn.Dropout):
    """Dropout in training, nothing otherwise (Srivastava et al. 2014), by `dropout`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Set some of the inputs, of any shape, to 0, and scale the others up."""
        return dropout(inputs, self.p) if self.training else inputs


def dropout(inputs: Tensor, rate: float) -> Tensor:
    """Set each element to 0 with probability `rate` and divide the others by 1 - `rate`; any shape.

    Drawn by torch's global generator of the device. Differentiable any number of times.
    """
    dropped = round(rate * LEVELS)
    if not is_host(inputs.device) or dropped == LEVELS:
        return F.dropout(inputs, rate)
    if dropped == 0:
        return inputs
    elements = inputs.numel()
    draws = torch.empty(-(-elements // ELEMENTS_A_DRAW), dtype=torch.int64).random_(-(2**63), None)
    sixteenths = draws.view(torch.int16)[:elements].view(inputs.shape)
    # Comparing into floating point numbers spares a pass over memory, and a tensor of truth values.
    kept = torch.ge(sixteenths, dropped - LEVELS // 2, out=torch.empty_like(sixteenths, dtype=inputs.dtype))
    return inputs * kept.mul_(LEVELS / (LEVELS - dropped))
