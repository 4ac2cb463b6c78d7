"""Filters over a sequence and the maximum of each over time (Collobert et al. 2011; Kim 2014, eqs. 2 and 3).

A maximum has a gradient at one place alone. So on the CPU the gradient is taken from the window of inputs
there, where that of a convolution reads and writes every place: a fraction of the time and of the memory.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.core.device import is_host


def max_over_time(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the maximum over time of every filter; (N, E, T), (F, E, W), (F,) → (N, F).

    Of equal maxima the first has the gradient. The gradient on the CPU is not differentiable again.
    """
    if not is_host(inputs.device):
        return F.conv1d(inputs, weight, bias).max(dim=2).values
    with torch.autocast("cpu", enabled=False):
        maxima: Tensor = _MaxOverTime.apply(inputs.float(), weight.float())
        return maxima + bias


class _MaxOverTime(torch.autograd.Function):
    """The maxima without their biases; what is kept is where they are, and the inputs."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        maxima, places = F.conv1d(inputs, weight).max(dim=2)
        ctx.save_for_backward(inputs, weight, places)
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients to inputs (N, E, T) and weight (F, E, W), given that to maxima (N, F)."""
        inputs, weight, places = ctx.saved_tensors
        to_inputs, to_weight = torch.zeros_like(inputs), torch.empty_like(weight)
        for offset in range(weight.shape[2]):
            at = (places + offset)[:, None].expand(-1, inputs.shape[1], -1)  # (N, E, F)
            to_weight[:, :, offset] = (inputs.gather(2, at) * gradient[:, None]).sum(dim=0).T
            to_inputs.scatter_add_(2, at, gradient[:, None] * weight[:, :, offset].T)
        return to_inputs, to_weight
