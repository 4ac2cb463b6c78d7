"""The likelihood of an image under a decoder's output, and the expected image.

`bernoulli`, `poisson` and `squared_error` map the output to (0, 1) by a sigmoid; `gaussian` takes it as it
is. The squared error Σ(x - x̂)² is, up to a constant, the negative log-likelihood of a Gaussian of variance ½.
A Poisson distribution is one of counts: a pixel x in [0, 1] is 255 x of them, the byte that it was read from.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Likelihood = Literal["bernoulli", "gaussian", "squared_error", "poisson"]

COUNTS = 255.0
"""Counts of a white pixel."""


def means(likelihood: Likelihood, logits: Tensor) -> Tensor:
    """Return the expected image, in [0, 1], of a decoder's output; any shape."""
    return logits.clamp(0, 1) if likelihood == "gaussian" else torch.sigmoid(logits)


def loss(likelihood: Likelihood, logits: Tensor, images: Tensor, log_sigma: Tensor | None = None) -> Tensor:
    """-log p(x | z), summed over pixels, in nats; (…, C, H, W), (C, H, W) broadcast → (…).

    `squared_error` omits the constant of the density (see `constant`); `gaussian` includes it.

    Args:
        log_sigma: logarithm of a pixel's standard deviation, scalar; for `gaussian`.
    """
    if likelihood == "bernoulli":
        # log(1 + e^l) - x·l; torch's fused form wants targets of the full shape.
        if logits.shape == images.shape:
            return F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=(-3, -2, -1))
        return (torch.logaddexp(logits, torch.zeros_like(logits)) - images * logits).sum(dim=(-3, -2, -1))
    if likelihood == "poisson":  # rate λ = 255 σ(l): λ - k log λ + log k!
        log_rates = math.log(COUNTS) + F.logsigmoid(logits)
        counts = COUNTS * images
        return (log_rates.exp() - counts * log_rates + torch.lgamma(counts + 1)).sum(dim=(-3, -2, -1))
    if likelihood == "squared_error":
        return (torch.sigmoid(logits) - images).square().sum(dim=(-3, -2, -1))
    if log_sigma is None:
        raise ValueError("the Gaussian likelihood needs log_sigma")
    errors = (logits - images).square() * torch.exp(-2 * log_sigma)
    return (0.5 * errors + log_sigma + 0.5 * math.log(2 * math.pi)).sum(dim=(-3, -2, -1))


def constant(likelihood: Likelihood, pixels: int) -> float:
    """Return the constant that `loss` omits, in nats an image: of the squared error ½·log π a pixel."""
    return 0.5 * math.log(math.pi) * pixels if likelihood == "squared_error" else 0.0


def squared_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Return Σ(x - x̂)² of each image; (B, C, H, W) twice → (B,)."""
    return (reconstructions - images).square().flatten(1).sum(dim=1)
