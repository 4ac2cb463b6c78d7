"""Variational autoencoder of images (Kingma & Welling 2014) and, by `beta`, the β-VAE (Higgins et al. 2017).

Losses are sums over an image's pixels, in nats, averaged over the batch.

Report figures, of the training batches and, as `valid_…`, of the validation split: `loss`, `reconstruction`
+ β·`kl` (the training figure at the β of the moment, `beta_now`; the validation figure at the full one);
`reconstruction`, -log p(x | z) of one draw of z; `kl`, KL(q(z | x) ‖ p(z)). Then `valid_active`, units of the
code that tell images apart; `grad_norm`; `lr`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gaussian
from seqgen.image.data.dataset import Batch, Images
from seqgen.image.networks import likelihood, pixel_losses
from seqgen.image.networks.config import Schedule
from seqgen.image.networks.networks import NetConfig, Shape, peak_lr, reader, writer
from seqgen.image.networks.pixel_losses import Likelihood

Metrics = dict[str, float]


@dataclass(frozen=True)
class VAEConfig(Schedule):
    """Settings of the variational autoencoder."""

    READ, PASSES = 4_000_000, (20, 300)

    net: NetConfig = field(default_factory=lambda: NetConfig(activation="silu", init="orthogonal"))
    code: int = 50
    """units of the code"""
    conditional: bool = False
    """encoder and decoder read the label"""
    likelihood: Likelihood = "bernoulli"
    """of a pixel given the code; squared_error is Σ(x - x̂)² as it stands"""
    sigma: float | None = None
    """a pixel's standard deviation under the Gaussian likelihood; none: learnt, one for all pixels"""
    beta: float = 1.0
    """weight of the KL divergence; 1 is the evidence lower bound"""
    warmup: float = 0.0
    """share of training over which beta rises from 0"""
    lr: float | None = None
    """peak learning rate of Adam; none: by the net, 0.0025 for two layers of 512 units, 0.001 if conv"""
    lr_floor: float = 0.0
    """share of it that is left at the end of the cosine; 1 keeps it constant"""
    beta2: float = 0.99
    """decay of Adam's running mean of squared gradients"""
    epochs: int | None = None
    """passes over the training split; none: about 4,000,000 images in all, 20 to 300 passes"""
    patience: int | None = None
    """reports without a better validation loss before training stops"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            code=(1, None),
            sigma=(1e-4, None),
            beta=(0.0, None),
            warmup=(0.0, 1.0),
            lr=(0.0, None),
            lr_floor=(0.0, 1.0),
            beta2=(0.0, 0.9999),
            patience=(1, None),
        )

        if self.sigma is not None and self.likelihood != "gaussian":
            raise UserError(
                f"sigma={self.sigma} is of the Gaussian likelihood, not of {self.likelihood}; set "
                "likelihood=gaussian, or leave sigma out"
            )

    def fitted(self, images: Images) -> Self:
        """Fill in what was left to the number of images and the net."""
        return replace(super().fitted(images), lr=peak_lr(self.net, self.lr))


class VAE(nn.Module):
    """An encoder to a diagonal Gaussian over codes, and a decoder from a code."""

    Config = VAEConfig
    monitor: str | None = "valid_loss"

    def __init__(self, config: VAEConfig, *, shape: Shape, classes: int) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.classes = classes if config.conditional else 0
        self.encoder = reader(config.net, shape, 2 * config.code, classes=self.classes)
        self.decoder = writer(config.net, config.code, shape, classes=self.classes)
        self.log_sigma = nn.Parameter(
            torch.tensor(config.sigma or 0.5).log(),
            requires_grad=config.likelihood == "gaussian" and config.sigma is None,
        )

    def configure(self) -> None:
        """Create the optimiser; call it once the module is on its device."""
        c = self.config
        self.optimizers = {"vae": optim.adamw(self, lr=peak_lr(c.net, c.lr), betas=(0.9, c.beta2))}

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move encoder and decoder by one batch."""
        optimizer = self.optimizers["vae"]
        beta = self._slow_down(progress)
        self.train()
        reconstruction, kl = (part.mean() for part in self._parts(batch))
        loss = reconstruction + beta * kl
        norms = optim.update({optimizer: loss})
        return {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "beta_now": beta,
            "grad_norm": norms[optimizer],
            "lr": optimizer.param_groups[0]["lr"],
        }

    def _slow_down(self, progress: float) -> float:
        """Set the learning rates for `progress` in [0, 1]; return the weight of the KL divergence."""
        c = self.config
        for optimizer in self.optimizers.values():
            optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=0.0, floor=c.lr_floor))
        return c.beta * (min(progress / c.warmup, 1.0) if c.warmup else 1.0)

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the reconstruction loss of one draw of the code, and the KL divergence; both (B,) nats."""
        labels = self._given(batch.labels)
        mean, log_var = self.posterior(batch.images, labels)
        logits = self.decoder(gaussian.sample(mean, log_var), labels)
        return self._loss(logits, batch.images), gaussian.kl(mean, log_var).sum(dim=1)

    def _loss(self, logits: Tensor, images: Tensor) -> Tensor:
        return pixel_losses.loss(self.config.likelihood, logits, images, self.log_sigma)

    def _given(self, labels: Tensor | None) -> Tensor | None:
        return labels if self.classes else None

    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return q(z | x): mean and log-variance; (B, C, H, W) → (B, Z), (B, Z)."""
        mean, log_var = self.encoder(images, self._given(labels)).chunk(2, dim=1)
        return mean, log_var

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the loss and the use of the code on held-out images."""
        self.eval()
        sums, images, means = torch.zeros(2, dtype=torch.float64), 0, []
        for batch in batches:
            reconstruction, kl = self._parts(batch)
            sums += torch.stack([reconstruction.double().sum(), kl.double().sum()]).cpu()
            images += len(batch.images)
            means.append(self.encode(batch.images, batch.labels))
        reconstruction, kl = (sums / images).tolist()
        return {
            "valid_loss": reconstruction + self.config.beta * kl,
            "valid_reconstruction": reconstruction,
            "valid_kl": kl,
            "valid_active": float(gaussian.active_units(torch.cat(means))),
        }

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Never stop: a likelihood has no collapse."""
        return None

    def samples(self, n: int) -> Tensor:
        """Draw n images from the prior; conditional on the labels 0, 1, 2, … in turn."""
        return self.sample(n)

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """Return the expected images of n codes from the prior, without pixel noise; (n, C, H, W)."""
        self.eval()
        device = self.log_sigma.device
        codes = torch.randn(n, self.config.code, generator=rng, device=rng.device if rng else device)
        if self.classes and labels is None:
            labels = torch.arange(n, device=device) % self.classes
        return self.decode(codes.to(device), labels)

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the posterior means; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self.posterior(images, labels)[0]

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the expected images of codes; (B, Z) → (B, C, H, W) in [0, 1]."""
        self.eval()
        return pixel_losses.means(self.config.likelihood, self.decoder(codes, self._given(labels)))

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what the decoder makes of the images' mean codes; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is: reconstruction loss at the mean code + KL, in nats; → (B,)."""
        self.eval()
        mean, log_var = self.posterior(images, labels)
        logits = self.decoder(mean, self._given(labels))
        return self._loss(logits, images) + gaussian.kl(mean, log_var).sum(dim=1)

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        samples: int = 5000,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """log p(x), in nats, estimated by importance sampling from q(z | x); (B, C, H, W) → (B,).

        A lower bound in expectation, which tightens with the samples (Burda et al. 2016, eq. 8).
        """
        self.eval()
        mean, log_var = self.posterior(images, labels)

        def propose(draws: int) -> tuple[Tensor, Tensor]:
            codes = gaussian.sample(mean.expand(draws, -1, -1), log_var.expand(draws, -1, -1), rng)
            return codes, gaussian.log_density(codes, mean, log_var)

        log_p = likelihood.of_decoder(self, images, labels)
        return likelihood.importance(log_p, propose, samples, len(images))
