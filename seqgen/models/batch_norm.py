"""Batch normalisation by the mean and variance of the whole of a batch that several processes share."""

import torch
from torch import Tensor, nn

from seqgen.core import distributed


class _WholeBatch(nn.modules.batchnorm._BatchNorm):
    """What torch's layers do in one process; in several, of which each has a part of the batch, the same."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise each channel; (B, C, …) → (B, C, …)."""
        if not self.training or distributed.shards() == 1:
            return super().forward(inputs)
        dims = [0, *range(2, inputs.dim())]
        shape = [1, -1, *[1] * (inputs.dim() - 2)]
        mean = distributed.mean(inputs.mean(dim=dims))
        centred = inputs - mean.view(shape)
        variance = distributed.mean(centred.square().mean(dim=dims))
        self._follow(mean, variance, inputs.numel() // inputs.shape[1] * distributed.shards())
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        return scaled * self.weight.view(shape) + self.bias.view(shape) if self.affine else scaled

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running moments by those of a batch with so many numbers of each channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class BatchNorm1d(_WholeBatch, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` of the whole batch; (B, C) → (B, C)."""


class BatchNorm2d(_WholeBatch, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` of the whole batch; (B, C, H, W) → (B, C, H, W)."""
