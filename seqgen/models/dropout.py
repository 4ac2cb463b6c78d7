"""Dropout whose masks are drawn for the whole of a batch that several processes share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import distributed


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` of activations whose first dimension is the batch; (B, …) → (B, …)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop activations in training, the same ones whether one process has the batch or several do."""
        if not self.training or not self.p or distributed.shards() == 1:
            return super().forward(inputs)
        return inputs * dropout_mask(inputs, self.p)


def dropout_mask(inputs: Tensor, rate: float, *, batch_dim: int = 0) -> Tensor:
    """Return the factors of this process's activations, 0 or 1 / (1 - rate), drawn as for the whole batch.

    inputs: (B, …), or with the batch at `batch_dim`. A mask is drawn in the order of the memory.
    """
    shape, strides = list(inputs.shape), inputs.stride()
    shape[batch_dim] *= distributed.shards()
    order = sorted(range(inputs.dim()), key=lambda dim: (-strides[dim], dim))
    whole = inputs.new_ones([shape[dim] for dim in order]).permute(*torch.tensor(order).argsort().tolist())
    mask = F.dropout(whole.detach(), rate, training=True)
    return distributed.shard(mask.transpose(0, batch_dim)).transpose(0, batch_dim)
