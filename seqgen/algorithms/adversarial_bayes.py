"""Adversarial variational Bayes (Mescheder et al. 2017, arXiv:1701.04722): what text and images share.

The posterior has no density; a critic that learns to tell its draws from those of a Gaussian gives the ratio.
"""

from dataclasses import dataclass, field

from torch import Tensor
from torch.optim import Optimizer

from seqgen.core import distributed, optim, settings
from seqgen.functional.gan_losses import GAN_LOSSES
from seqgen.functional.implicit_posterior import Contrast, GaussianReference, ImplicitPosterior, log_mean_exp
from seqgen.models.posterior_critic import PosteriorCritic, PosteriorCriticConfig


@dataclass(frozen=True)
class ImplicitPosteriorConfig:
    """What the settings of adversarial variational Bayes add to those of a VAE; it stands before these."""

    critic: PosteriorCriticConfig = field(default_factory=PosteriorCriticConfig)
    noise_dim: int = 16
    """dimensions of the noise ε that all latent dimensions share; each has one of its own, ε₀, as well"""
    adversarial_weight: float = 1.0
    """weight λ of the critic's part of the divergence in the loss of encoder and decoder"""
    contrast: Contrast = "full"
    """what the critic compares the posterior with: the prior, or a Gaussian with the posterior's means and
    variances, or with its whole covariance"""

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        settings.bounds(self, noise_dim=(1, None), adversarial_weight=(0.0, None))


def update_critic(
    critic: PosteriorCritic,
    config: PosteriorCriticConfig,
    optimizer: Optimizer,
    posterior: ImplicitPosterior,
    reference: GaussianReference,
    *,
    clip: float | None = None,
) -> dict[str, Tensor]:
    """Train a critic to tell latents of a posterior from those of a Gaussian (eq. 3.3); return metrics.

    Only the critic learns. `critic_bias` is log E[exp T] under the Gaussian, 0 for a perfect critic.
    """
    posterior, reference = posterior.detach(), reference.detach()
    for _ in range(config.steps):
        latents = reference.whiten(posterior.draw(config.draws))
        posterior_scores = critic(posterior.features, latents)
        gaussian_scores = critic(posterior.features, distributed.randn(*latents.shape, device=latents.device))
        loss = GAN_LOSSES["logistic"].discriminator(posterior_scores, gaussian_scores)
        optim.update({optimizer: loss}, clip=clip)
    return {"critic_loss": loss.detach(), "critic_bias": log_mean_exp(gaussian_scores.detach())}
