"""How likely images are under a decoder and the standard normal prior of its latents.

S draws, B images, Z latent dimensions. A decoder model has `decoder`, `classes`, `log_sigma` and the setting
`likelihood`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqgen.functional import gaussian
from seqgen.image.networks import pixel_losses

LogLikelihood = Callable[[Tensor], Tensor]
"""log p(x | z) of B images: latents (S, B, Z) → (S, B), nats"""
Proposal = Callable[[int], tuple[Tensor, Tensor]]
"""S → latents of B images, (S, B, Z), drawn from any density, and their log densities, (S, B)"""

CHUNK = 2048
"""Images decoded at a time: they stay in the processor's cache."""


def decoder_log_likelihood(model: Any, images: Tensor, labels: Tensor | None = None) -> LogLikelihood:
    """Return log p(x | z) of images as a function of latents; (B, C, H, W), (B,)."""
    likelihood = model.config.likelihood
    constant = pixel_losses.constant(likelihood, images[0].numel())

    def log_p(latents: Tensor) -> Tensor:
        repeated = labels.repeat(len(latents)) if labels is not None and model.classes else None
        logits = model.decoder(latents.flatten(0, 1), repeated).unflatten(0, latents.shape[:2])
        return -pixel_losses.loss(likelihood, logits, images, model.log_sigma) - constant

    return log_p


def importance_sampling(log_p: LogLikelihood, propose: Proposal, samples: int, images: int) -> Tensor:
    """Estimate log p(x), nats; → (B,), a lower bound in expectation (Burda et al. 2016, eq. 8)."""
    draws = max(CHUNK // images, 1)
    log_weights = []
    for first in range(0, samples, draws):
        latents, log_q = propose(min(draws, samples - first))
        log_weights.append(log_p(latents) + gaussian.prior_log_density(latents) - log_q)
    return gaussian.importance_log_likelihood(torch.cat(log_weights))
