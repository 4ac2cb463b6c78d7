"""Adversarial variational Bayes: a VAE whose posterior only draws (Mescheder et al. 2017, arXiv:1701.04722).

The posterior draws z = E(x, ε) and has no density. A critic T(x, z) that learns to tell its draws from a
Gaussian's reaches the logarithm of the ratio of the two densities, and stands for it in the bound. With
adaptive contrast the Gaussian has the posterior's own moments: codes are normalised by them, the critic sees
what is not Gaussian, and the rest of KL(q(z | x) ‖ p(z)) is known in closed form.

What differs from the paper: the sampler's functions of noise are the first Hermite polynomials,

    z = mean(x) + deviation(x) · (c(x) ε₀ + Σ_i (a_i(x) ε_i + b_i(x) (ε_i² - 1) / √2)),  c² + Σ (a² + b²) = 1,

whose moments need no estimate and are learned as a VAE's are, with a bound on the b, so that a critic can
follow; the contrast has the posterior's whole covariance, not only its variances (`contrast=diagonal` is the
paper's); and the critic reads the encoder's last hidden layer, on which alone the posterior depends, instead
of the image.

Report figures, of training batches, in nats an image: `loss`, at β = 1 the negative adversarial bound,
which is none where the critic is imperfect; `reconstruction`, -log p(x | z) of one draw of z; `kl`, its
estimate with the critic; `contrast`, the critic's part of that; `critic_loss`, 2 log 2 = 1.386 by chance;
`critic_bias`, log E[exp T] under the Gaussian, 0 for a perfect critic; `beta_now`; `grad_norm`; `lr`. Of
the validation split: `valid_nll`, by importance sampling from the Gaussian of the posterior's moments, 20
draws, a bound whatever the critic; `valid_bound`, the adversarial one; `valid_contrast`,
`valid_critic_bias`; and `valid_active`, units of the code that tell images apart.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from seqgen.core import optim, settings
from seqgen.functional import gan_losses, gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.vae import VAE, Metrics, VAEConfig
from seqgen.image.networks import likelihood, pixel_losses
from seqgen.image.networks.implicit_posterior import (
    Critic,
    CriticConfig,
    Posterior,
    Reference,
    reference,
    sampler,
)
from seqgen.image.networks.networks import Shape, peak_lr

DRAWS = 20
"""Draws of each validation image's code."""
FIRST_WAYS = 0.1
"""The ways of the common noise before anything is learned, about, beside a 1 for each unit's own."""
CLIP = 1000.0
"""Bound of the gradient's norm of encoder and decoder: for the rare outlier only."""


@dataclass(frozen=True)
class AVBConfig(VAEConfig):
    """Settings of adversarial variational Bayes: those of the VAE, with its defaults, and its own."""

    PASSES = (20, 200)

    epochs: int | None = None
    """passes over the training split; none: about 4,000,000 images in all, 20 to 200 passes"""
    critic: CriticConfig = field(default_factory=CriticConfig)
    noise: int = 16
    """units of the noise ε beside ε₀, which has one for each unit of the code"""
    contrast: Literal["none", "diagonal", "full"] = "full"
    """what the critic compares the posterior with: the prior, or a Gaussian with the posterior's means and
    variances, or with its whole covariance"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, noise=(1, None))


class AVB(VAE):
    """A VAE whose encoder draws codes, and a critic of the codes."""

    Config = AVBConfig
    config: AVBConfig
    monitor: str | None = "valid_nll"

    def __init__(self, config: AVBConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(config, shape=shape, classes=classes)
        hidden = self.encoder.head.in_features
        self.ways = nn.Linear(hidden, 2 * config.noise * config.code)
        nn.init.normal_(self.ways.weight, std=FIRST_WAYS / hidden**0.5)  # it starts nearly as a VAE
        nn.init.zeros_(self.ways.bias)
        self.critic = Critic(config.critic, hidden, config.code)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c = self.config
        players = nn.ModuleList([self.encoder, self.ways, self.decoder])
        if self.log_sigma.requires_grad:
            players.register_parameter("log_sigma", self.log_sigma)
        self.optimizers = {
            "avb": optim.adamw(players, lr=peak_lr(c.net, c.lr), betas=(0.9, c.beta2)),
            "critic": optim.adamw(self.critic, lr=c.critic.lr, betas=(0.9, 0.99)),
        }

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move the critic, then encoder and decoder by it, on one batch."""
        self.train()
        beta = self._slow_down(progress)
        posterior = self.sampler(batch.images, batch.labels)
        against = reference(posterior, self.config.contrast)
        figures = self._move_critic(posterior.detach(), Reference(*(part.detach() for part in against)))
        codes = posterior.draw(1)
        contrast = self.critic(posterior.hidden.detach(), against.normalised(codes)).mean()
        kl = against.kl().mean() + contrast
        reconstruction = self._rebuilding(codes[:, 0], batch).mean()
        loss = reconstruction + beta * kl
        main = self.optimizers["avb"]
        norms = optim.update({main: loss}, clip=CLIP)
        return figures | {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "contrast": contrast.detach(),
            "beta_now": beta,
            "grad_norm": norms[main],
            "lr": main.param_groups[0]["lr"],
        }

    def _move_critic(self, posterior: Posterior, against: Reference) -> dict[str, Tensor]:
        """Teach the critic to tell codes of the posterior from the Gaussian's (eq. 3.3 of the paper)."""
        c = self.config.critic
        for _ in range(c.steps):
            codes = against.normalised(posterior.draw(c.draws))
            on_posterior = self.critic(posterior.hidden, codes)
            on_gaussian = self.critic(posterior.hidden, torch.randn_like(codes))
            loss = gan_losses.critic_loss("logistic", on_posterior, on_gaussian)
            optim.update({self.optimizers["critic"]: loss})
        return {"critic_loss": loss.detach(), "critic_bias": _bias(on_gaussian.detach())}

    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the means and log-variances of q(z | x); (B, C, H, W) → (B, Z), (B, Z)."""
        found = self.sampler(images, labels)
        return found.mean, 2 * found.deviation.log()

    def sampler(self, images: Tensor, labels: Tensor | None = None) -> Posterior:
        """Return what draws from q(z | x); (B, C, H, W) → a `Posterior` of B images."""
        hidden = self.encoder.features(images, self._given(labels))
        return sampler(hidden, self.encoder.head(hidden), self.ways(hidden))

    def _rebuilding(self, codes: Tensor, batch: Batch) -> Tensor:
        return self._loss(self.decoder(codes, self._given(batch.labels)), batch.images)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the bounds, the critic and the use of the code on held-out images."""
        self.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        images, means, scores = 0, [], []
        for batch in batches:
            posterior, against, codes, contrast = self._drawn(batch)
            bound = self._rebuilding(codes, batch) + against.kl() + contrast
            nll = -self.log_likelihood(batch.images, batch.labels, samples=DRAWS)
            sums += torch.stack([part.double().sum() for part in (nll, bound, contrast)]).cpu()
            images += len(batch.images)
            means.append(posterior.mean)
            scores.append(self.critic(posterior.hidden, torch.randn_like(codes)[:, None]))
        nll, bound, contrast = (sums / images).tolist()
        return {
            "valid_nll": nll,
            "valid_bound": bound,
            "valid_contrast": contrast,
            "valid_critic_bias": float(_bias(torch.cat(scores))),
            "valid_active": float(gaussian.active_units(torch.cat(means))),
        }

    @torch.no_grad()
    def adversarial_bound(self, batch: Batch) -> Tensor:
        """Return what stands for the bound on log p(x), of one draw of each code, in nats; (B,).

        It is one only where the critic is perfect: a weak critic sees less divergence than there is.
        """
        self.eval()
        _, against, codes, contrast = self._drawn(batch)
        constant = pixel_losses.constant(self.config.likelihood, batch.images[0].numel())
        return -(self._rebuilding(codes, batch) + constant + against.kl() + contrast)

    def _drawn(self, batch: Batch) -> tuple[Posterior, Reference, Tensor, Tensor]:
        """Draw a code of each image, (B, Z), from what is returned first, and what the critic says, (B,)."""
        posterior = self.sampler(batch.images, batch.labels)
        against = reference(posterior, self.config.contrast)
        codes = posterior.draw(1)
        contrast = self.critic(posterior.hidden.detach(), against.normalised(codes))
        return posterior, against, codes[:, 0], contrast[:, 0]

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is: the loss at the mean code + the KL of a Gaussian; → (B,)."""
        self.eval()
        posterior = self.sampler(images, labels)
        logits = self.decoder(posterior.mean, self._given(labels))
        return self._loss(logits, images) + reference(posterior, "full").kl()

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        samples: int = 5000,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """log p(x), in nats, estimated by importance sampling; (B, C, H, W) → (B,).

        The draws are of the Gaussian with the posterior's moments, whose density is known: a lower bound in
        expectation, whatever the critic.
        """
        self.eval()
        proposal = reference(self.sampler(images, labels), "full")

        def propose(draws: int) -> tuple[Tensor, Tensor]:
            codes, log_q = proposal.draw(draws, rng)
            return codes.transpose(0, 1), log_q.transpose(0, 1)

        log_p = likelihood.of_decoder(self, images, labels)
        return likelihood.importance(log_p, propose, samples, len(images))


def _bias(scores: Tensor) -> Tensor:
    """log of the mean of exp T under the Gaussian; any shape → scalar."""
    return torch.logsumexp(scores.flatten(), dim=0) - math.log(scores.numel())
