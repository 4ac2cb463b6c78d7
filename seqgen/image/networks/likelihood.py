"""How likely images are under a decoder and the standard normal prior of its codes.

S draws, B images, Z units of a code. A decoder model has `decoder`, `classes`, `log_sigma` and the setting
`likelihood`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqgen.functional import gaussian
from seqgen.image.networks import pixel_losses

LogLikelihood = Callable[[Tensor], Tensor]
"""log p(x | z) of B images: codes (S, B, Z) → (S, B), nats"""
Proposal = Callable[[int], tuple[Tensor, Tensor]]
"""S → codes of B images, (S, B, Z), drawn from any density, and their log densities, (S, B)"""

ROWS = 2048
"""Images decoded at a time: they stay in the processor's cache."""


def of_decoder(model: Any, images: Tensor, labels: Tensor | None = None) -> LogLikelihood:
    """Return log p(x | z) of images as a function of codes; (B, C, H, W), (B,)."""
    likelihood = model.config.likelihood
    constant = pixel_losses.constant(likelihood, images[0].numel())

    def log_p(codes: Tensor) -> Tensor:
        given = labels.repeat(len(codes)) if labels is not None and model.classes else None
        logits = model.decoder(codes.flatten(0, 1), given).unflatten(0, codes.shape[:2])
        return -pixel_losses.loss(likelihood, logits, images, model.log_sigma) - constant

    return log_p


def importance(log_p: LogLikelihood, propose: Proposal, samples: int, images: int) -> Tensor:
    """log p(x) by importance sampling, nats; → (B,), on average a lower bound (Burda et al. 2016, eq. 8)."""
    draws = max(ROWS // images, 1)
    weights = []
    for first in range(0, samples, draws):
        codes, log_q = propose(min(draws, samples - first))
        weights.append(log_p(codes) + gaussian.prior_log_density(codes) - log_q)
    return gaussian.importance_log_likelihood(torch.cat(weights))
