"""Adversarial variational Bayes of sentences: a sentence-VAE with an implicit posterior.

Mescheder et al. 2017 (arXiv:1701.04722). The posterior draws z = E(x, ε) and has no density; a critic T(x, z)
that learns to tell its draws from those of a Gaussian approaches the log ratio of the two densities, and
replaces it in the bound. What differs from the paper is as in `seqgen.image.models.avb`: functions of the
noise whose moments are known, a contrast with the whole covariance, and a critic that gets the encoder's
pooled states in place of the sentence. What is done against posterior collapse is the sentence-VAE's: free
bits and the other penalties are of the divergence of the Gaussian with the posterior's means and variances,
and what the posterior has beyond that, its correlations and what is not Gaussian in it, is added:

    KL(q(z | x) ‖ p) = Σ KL(N(mean, var) ‖ N(0, 1)) + correlations + λ E[T(x, z)],

λ, `adversarial_weight`, being 1 in the bound. The total correlation that `decorrelation` weighs leaves the
correlations within a posterior out.

Report metrics: those of `seqgen.algorithms.sentence_vae`, of draws of the implicit posterior. `kl` and `elbo`
of training batches are the critic's; `contrast` is its part of the former, `critic_loss` its loss, 2 log 2 =
1.386 by chance, and `critic_bias` log E[exp T] under the Gaussian, 0 for a perfect critic. Of the validation
split `valid_kl` is a bound from above by nested Monte Carlo, so that `valid_elbo` is a bound of the
likelihood whatever the critic; `valid_kl_critic` is the critic's divergence, and `valid_kl_least` a bound
from below: where the critic's is clearly less, it is too weak, and a remark says so. `valid_nll` weighs draws
of Gaussians with the posterior's means and variances, and `mutual_information` takes posteriors for those.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.algorithms import vae_objective
from seqgen.algorithms.adversarial_bayes import ImplicitPosteriorConfig, update_critic
from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.algorithms.sentence_vae import SentenceVAE, SentenceVAEConfig
from seqgen.core import optim
from seqgen.core.device import autocast
from seqgen.data import augment
from seqgen.functional import gaussian
from seqgen.functional.implicit_posterior import (
    ImplicitPosterior,
    critic_warning,
    divergence_bounds,
    gaussian_reference,
    implicit_posterior,
)
from seqgen.models.base import evaluating
from seqgen.models.posterior_critic import PosteriorCritic, noise_loadings

INNER_DRAWS = 128
"""Draws of the common noise for each latent vector in the bounds of the divergence."""


@dataclass(frozen=True)
class SentenceAVBConfig(ImplicitPosteriorConfig, SentenceVAEConfig):
    """Settings of adversarial variational Bayes: those of the sentence-VAE, and its own."""


class SentenceAVB(SentenceVAE):
    """A sentence-VAE with an implicit posterior, and a critic of latent vectors."""

    Config = SentenceAVBConfig
    config: SentenceAVBConfig
    examples = tuple(
        {"critic.hidden": 11, "critic.draws": 2, "noise_dim": 2} | more
        for more in (
            {},
            {"contrast": "none", "penalty": "kl", "adversarial_weight": 0.7},
            {"contrast": "diagonal", "encoder.bidirectional": False, "encoder.cell": "gru"},
            {"aggressive": 2, "aggressive_window": 1, "encoder_word_dropout": 0.2},
        )
    )

    def __init__(self, config: SentenceAVBConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        features = self.encoder.mean.in_features
        self.loadings = noise_loadings(features, config.noise_dim, config.latent_dim)
        self.critic = PosteriorCritic(config.critic, features, config.latent_dim)

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        super().configure()
        c = self.config
        self.optimizers["encoder"] = optim.adamw(
            nn.ModuleList([self.encoder, self.loadings]), lr=c.peak_lr, weight_decay=c.weight_decay or 0.0
        )
        self.optimizers["critic"] = optim.adamw(self.critic, lr=c.critic.lr, betas=(0.9, 0.99))

    def implicit_posterior(self, tokens: Tensor) -> ImplicitPosterior:
        """Return q(z | x) of sentences (B, T)."""
        features = self.encoder.features(tokens)
        moments = torch.cat((self.encoder.mean(features), self.encoder.log_var(features)), dim=1)
        return implicit_posterior(features.float(), moments.float(), self.loadings(features).float())

    def _loss(self, tokens: Tensor, beta: float) -> tuple[Tensor, StepMetrics]:
        """Train the critic on a batch (B, T); return the negative bound as of the sentence-VAE, and parts."""
        c = self.config
        mean_tokens = self.mean_tokens(tokens)
        with autocast(tokens.device, bf16=c.bf16):
            posterior = self.implicit_posterior(augment.mask_words(tokens, c.encoder_word_dropout))
        reference = gaussian_reference(posterior, c.contrast)
        critic_metrics = update_critic(
            self.critic, c.critic, self.optimizers["critic"], posterior, reference, clip=c.clip
        )
        latents = posterior.draw(1)
        contrast = self.critic(posterior.features.detach(), reference.whiten(latents)).mean()
        with autocast(tokens.device, bf16=c.bf16):
            recon = vae_objective.reconstruction(
                self.generator, tokens, latents[:, 0], mask_rate=c.word_dropout
            )
        log_var = 2 * posterior.std.log()
        kl = gaussian.kl(posterior.mean, log_var)
        correlations = reference.kl().mean() - kl.sum(dim=1).mean()
        penalty = vae_objective.penalty(kl, c.penalty, c.target_kl)
        penalty = penalty + correlations + c.adversarial_weight * contrast
        penalty = penalty + c.decorrelation * self._total_correlation(posterior.mean, log_var)
        loss = (recon + beta * len(tokens) * penalty) / mean_tokens
        parts = recon.detach() / len(tokens), (reference.kl().mean() + contrast).detach()
        metrics = {"recon": parts[0], "kl": parts[1], "elbo": -sum(parts), "contrast": contrast.detach()}
        return loss, metrics | critic_metrics

    def measure(self, batches: Iterable[Tensor], *, samples: int) -> Metrics:
        """Measure held-out batches (B, T) as the sentence-VAE does, the bound by the implicit posterior."""
        metrics = super().measure(batches, samples=samples)
        if not metrics:
            return metrics
        rng = torch.Generator(self.generator.head.weight.device).manual_seed(0)  # always the same draws
        sums: dict[str, float] = {}
        sentences = 0
        with evaluating(self):
            for tokens in batches:
                sentences += len(tokens)
                for name, value in self._bound(tokens, rng).items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        metrics |= {name: value / sentences for name, value in sums.items()}
        return metrics | {"valid_elbo": -(metrics["valid_recon"] + metrics["valid_kl"])}

    def _bound(self, tokens: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return sums over sentences (B, T) of the reconstruction and of three measures of the divergence."""
        posterior = self.implicit_posterior(tokens)
        reference = gaussian_reference(posterior, self.config.contrast)
        latents = posterior.draw(1, rng)
        contrast = self.critic(posterior.features, reference.whiten(latents))[:, 0]
        bounds = divergence_bounds(posterior, draws=1, inner=INNER_DRAWS, rng=rng)
        return {
            "valid_recon": vae_objective.reconstruction(self.generator, tokens, latents[:, 0]),
            "valid_kl": bounds.most.sum(),
            "valid_kl_critic": (reference.kl() + contrast).sum(),
            "valid_kl_least": bounds.least.sum(),
        }

    def remark(self, report: Metrics) -> str | None:
        """Warn where the critic underestimates the divergence, so that less is charged than is used."""
        found: Any = report.get("valid_kl_critic"), report.get("valid_kl_least")
        return None if None in found else critic_warning(*found)
