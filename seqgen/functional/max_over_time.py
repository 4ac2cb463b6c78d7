"""Filters over a sequence and the maximum of each over time (Collobert et al. 2011; Kim 2014, eqs. 2 and 3).

A maximum has a gradient at one place alone. So on the CPU the gradient is taken from the window of inputs
there, where that of a convolution reads and writes every place: a fraction of the time and of the memory.

Of wide filters, and sentences of uneven length, most of the time is products. There the windows that lie
within a sentence are laid out as rows, and each width is one product forwards and two backwards.
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


def max_within(inputs: Tensor, lengths: Tensor, weight: Tensor) -> Tensor:
    """Return each filter's maximum over the windows within a sentence, on the CPU.

    inputs (B, T, E), lengths (B,), weight (F, E, W) → (B, F).
    A sentence shorter than the window has one, which begins with it; T ≥ W, and inputs behind a sentence are
    expected to be 0. Of equal maxima one has the gradient, which is not differentiable again.
    """
    counts = (lengths - weight.shape[2] + 1).clamp(min=1)
    is_within = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]  # (B, windows)
    with torch.autocast("cpu", enabled=False):
        maxima: Tensor = _MaxWithin.apply(inputs.float(), weight.float(), is_within)
    return maxima


class _MaxWithin(torch.autograd.Function):
    """The maxima over those of the first windows of each sentence that are marked, (B, windows)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, is_within: Tensor) -> Tensor:
        (rows, length, size), (filters, _, width) = inputs.shape, weight.shape
        flat_weight = weight.transpose(1, 2).reshape(filters, width * size)
        places = is_within.flatten().nonzero()[:, 0]
        windows = is_within.shape[1]
        firsts = places // windows * length + places % windows  # the token at which each window begins
        # A window is W · E numbers in a row of memory.
        every = inputs.contiguous().as_strided((rows * length - width + 1, width * size), (size, 1))
        within = every.index_select(0, firsts)
        activations = within.new_full((rows * windows, filters), -torch.inf)
        activations.index_copy_(0, places, within @ flat_weight.t())
        maxima, at = activations.view(rows, windows, filters).max(dim=1)
        ctx.save_for_backward(within, flat_weight, firsts, places, at)
        ctx.sizes = inputs.shape, weight.shape, windows
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients to inputs (B, T, E) and weight (F, E, W), given that to maxima (B, F)."""
        within, flat_weight, firsts, places, at = ctx.saved_tensors
        (rows, length, size), (filters, _, width), windows = ctx.sizes
        of_all = gradient.new_zeros(rows, windows, filters).scatter_(1, at[:, None], gradient[:, None])
        of_activations = of_all.flatten(0, 1).index_select(0, places)
        with torch.autocast("cpu", enabled=False):  # a gradient may be asked for within one, too
            to_weight = (of_activations.t() @ within).view(filters, width, size).transpose(1, 2)
            of_windows = (of_activations @ flat_weight).view(-1, width, size)
        to_inputs = gradient.new_zeros(rows * length, size)
        for offset in range(width):
            to_inputs.index_add_(0, firsts + offset, of_windows[:, offset])
        return to_inputs.view(rows, length, size), to_weight, None
