"""The maximum mean discrepancy of two batches of feature vectors."""

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.functional.vocab_projection import no_autocast

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Variances of the Gaussian kernels whose mean is taken, in mean squared distances of the vectors."""

LEAST = 1e-30
"""Least mean squared distance that is divided by: no fraction of it is a denormal number, which may be 0."""


def squared_mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared MMD, at least 0, of feature vectors (N, F) and (M, F); scalar.

    mean k(x, x′) + mean k(y, y′) - 2 mean k(x, y) over all pairs (Gretton et al. 2012, eq. 5), k the mean of
    Gaussian kernels exp(-‖x - y‖² / 2 σ²), with σ² the `WIDTHS` times the mean squared distance of all
    vectors, through which no gradient flows: so it is the same for features of any scale. Where several
    processes share a batch, the vectors are those of all of them.
    """
    first, second = distributed.gather(first), distributed.gather(second)
    both = torch.cat((first, second))
    both = both.to(torch.promote_types(both.dtype, torch.float32))
    with no_autocast(both.device):  # a difference of large products
        squares = both.square().sum(dim=1)
        distances = (squares[:, None] + squares - 2 * both @ both.t()).clamp(min=0)
    mean = distances.detach().mean().clamp(min=LEAST)
    kernel = torch.stack([(-distances / (2 * width * mean)).exp() for width in WIDTHS]).mean(dim=0)
    n = len(first)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
