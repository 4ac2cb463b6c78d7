"""Dropout whose random numbers cost little on the CPU, and are those of a whole batch in several processes.

torch draws a Bernoulli number an element there, which for an embedding of 256 takes a quarter of the training
step of an LSTM; here an element takes 16 of the bits of a random number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import distributed
from seqgen.core.device import is_host

LEVELS = 2**16
"""A rate is rounded to one in so many on the CPU."""
ELEMENTS_A_DRAW = 4
"""Elements to which one random number of 64 bits is dealt out."""


class Dropout(nn.Dropout):
    """Dropout in training, nothing otherwise (Srivastava et al. 2014), by `dropout`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Set some of the inputs, (B, …) or of any shape in one process, to 0, and scale the others up."""
        return dropout(inputs, self.p) if self.training and self.p else inputs


def dropout(inputs: Tensor, rate: float) -> Tensor:
    """Set each element to 0 with probability `rate` and divide the others by 1 - `rate`; any shape.

    Drawn by torch's global generator of the device. Differentiable any number of times. Where several
    processes share a batch, the first dimension is the batch.
    """
    if distributed.shards() == 1:
        return _dropped(inputs, rate)
    return inputs * distributed.shard(_dropped(_ones_of_batch(inputs, 0), rate))


def dropout_mask(inputs: Tensor, rate: float, *, batch_dim: int) -> Tensor:
    """Return what torch's own dropout multiplies inputs with, drawn for the whole of a batch; same shape."""
    mask = F.dropout(_ones_of_batch(inputs, batch_dim), rate)
    return distributed.shard(mask.transpose(0, batch_dim)).transpose(0, batch_dim)


def _ones_of_batch(inputs: Tensor, batch_dim: int) -> Tensor:
    """Return ones like the inputs of the whole batch, in the same order in memory, in which torch draws."""
    shape, strides = list(inputs.shape), inputs.stride()
    shape[batch_dim] *= distributed.shards()
    order = sorted(range(inputs.dim()), key=lambda dim: (-strides[dim], dim))
    ones = inputs.detach().new_ones([shape[dim] for dim in order])
    return ones.permute(*torch.tensor(order).argsort().tolist())


def _dropped(inputs: Tensor, rate: float) -> Tensor:
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
