"""What image models with a critic share: the settings of the GAN loss, EMA networks, diversity and collapse.

A critic gives an image, or a latent vector, one number, its score; higher is more real.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms.base import Metrics
from seqgen.core import distributed, optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import at_a_time
from seqgen.image.networks.config import ImageTrainingConfig
from seqgen.image.networks.networks import NetConfig, Shape

CHUNK = 1000
"""Images decoded at a time: bounds memory."""
COLLAPSE_RATIO = 0.1
"""Fraction of the highest diversity so far below which a generator has collapsed."""
SGD_FACTOR = 50.0
"""Learning rate of stochastic gradient descent where none is set, relative to Adam's."""
NEVER_DIVERSE = 0.05
"""Highest diversity of a generator that has collapsed from its first step on; others soon are above 0.3."""
FEWEST_UPDATES = 300
"""Updates before a generator can be said to have collapsed so: at first images hardly vary."""
DIVERGED, DIVERGED_WEIGHT = 1e6, 1e4
"""Absolute value of a loss or of a gap between scores, and of a weight, at which training has diverged."""


@dataclass(frozen=True)
class GANLossConfig:
    """The GAN loss, the penalties on the critic's gradient, and the optimisers of both."""

    loss: gan_losses.Kind = "logistic"
    """logistic is the non-saturating loss; energy takes softplus(-score) as the energy"""
    gradient_penalty: float | None = None
    """weight of (‖gradient‖ - 1)² between real and fake samples (WGAN-GP); none: 1 with wasserstein,
    else 0"""
    r1: float | None = None
    """weight γ of ½ ‖gradient‖² at real samples (Mescheder et al. 2018); none: 0 with wasserstein, else by
    the critic, 2 if dense, 0.5 if conv"""
    lr: float | None = None
    """initial learning rate of all networks but critics, a cosine to lr_floor follows for all; none: by the
    net, 0.002 if dense, 0.0005 if conv, of sgd 50 times as much"""
    critic_lr: float | None = None
    """initial learning rate of critics; none: by the net as well"""
    optimizer: optim.Kind = "adam"
    """adam is AdamW; sgd has beta1 as its momentum"""
    weight_decay: float = 0.0
    """every optimiser's decay of matrices"""
    beta1: float = 0.0
    """decay of every Adam's running mean of gradients"""
    beta2: float = 0.99
    """decay of every Adam's running mean of squared gradients"""
    ema_decay: float = 0.999
    """decay of the moving average of the weights that samples come from; 0 uses the last weights"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            gradient_penalty=(0.0, None),
            r1=(0.0, None),
            lr=(0.0, None),
            critic_lr=(0.0, None),
            weight_decay=(0.0, None),
            beta1=(0.0, 0.9999),
            beta2=(0.0, 0.9999),
            ema_decay=(0.0, 1.0),
        )

    @property
    def gradient_penalty_weight(self) -> float:
        """Weight of the gradient penalty."""
        if self.gradient_penalty is None:
            return 1.0 if self.loss == "wasserstein" else 0.0
        return self.gradient_penalty

    def r1_weight(self, critic: NetConfig) -> float:
        """Return the weight of a critic's zero-centred gradient penalty."""
        if self.r1 is not None:
            return self.r1
        if self.loss == "wasserstein":
            return 0.0
        return 0.5 if critic.convolves else 2.0

    def check(self, critic: NetConfig) -> None:
        """Raise UserError where a critic with a gradient penalty would have batch normalisation."""
        if critic.normalise == "batch" and (self.gradient_penalty_weight or self.r1_weight(critic)):
            raise UserError(
                "critic.normalise=batch mixes the images of a batch, and a penalty needs the gradient of "
                "each image; set critic.normalise to layer or none, or gradient_penalty=0 and r1=0"
            )

    def build_optimizer(self, *parts: tuple[nn.Module, NetConfig, float | None]) -> Optimizer:
        """Return one optimiser of networks, given each with its settings and the learning rate set for it."""
        rates = [
            (module.parameters(), self._default_lr(net) if lr is None else lr) for module, net, lr in parts
        ]
        betas = self.beta1, self.beta2
        return optim.build(self.optimizer, rates, weight_decay=self.weight_decay, betas=betas)

    def _default_lr(self, net: NetConfig) -> float:
        return (5e-4 if net.convolves else 2e-3) * (SGD_FACTOR if self.optimizer == "sgd" else 1.0)

    def critic_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the critic's loss; (R,), (F,) → scalar."""
        return gan_losses.GAN_LOSSES[self.loss].discriminator(real_scores, fake_scores)

    def generator_loss(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the generator's loss; (R,), (F,) → scalar."""
        return gan_losses.GAN_LOSSES[self.loss].generator(real_scores, fake_scores)

    def penalties(
        self, net: NetConfig, critic: Callable[[Tensor], Tensor], real: Tensor, *fakes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of a critic's gradient penalties, and each without its weight.

        real and each of fakes (B, …). Of several kinds of fake samples the i-th pair has the kind i modulo
        their number.
        """
        total, metrics = real.new_zeros(()), {}
        if self.gradient_penalty_weight:
            rows = torch.arange(len(real), device=real.device)
            kinds = distributed.rows_of(lambda n: torch.arange(n, device=real.device), len(real)) % len(fakes)
            fake = torch.stack([each.detach() for each in fakes])[kinds, rows]
            metrics["gradient_penalty"] = gan_losses.gradient_penalty(critic, real, fake)
            total = total + self.gradient_penalty_weight * metrics["gradient_penalty"]
        if weight := self.r1_weight(net):
            metrics["r1"] = gan_losses.zero_centred_penalty(critic, real)
            total = total + weight * metrics["r1"]
        return total, {name: penalty.detach() for name, penalty in metrics.items()}

    def penalised_critic_loss(
        self,
        net: NetConfig,
        critic: Callable[[Tensor], Tensor],
        scores: tuple[Tensor, Tensor],
        real: Tensor,
        *fakes: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a critic's loss with its gradient penalties, and metrics.

        The metrics are `d_loss`, this loss; `score_gap`, the mean score of real samples minus that of fake
        ones; and the penalties. The other arguments are those of `penalties`.

        Args:
            scores: of the real and of all fake samples, (R,) and (F,).
        """
        real_scores, fake_scores = scores
        penalty, penalties = self.penalties(net, critic, real, *fakes)
        loss = self.critic_loss(real_scores, fake_scores) + penalty
        gap = real_scores.mean() - fake_scores.mean()
        return loss, {"d_loss": loss.detach(), "score_gap": gap.detach(), **penalties}


@dataclass(frozen=True)
class AdversarialConfig(ImageTrainingConfig):
    """The settings of every image model with a critic."""

    critic: NetConfig = field(default_factory=lambda: NetConfig(activation="leaky_relu"))
    gan: GANLossConfig = field(default_factory=GANLossConfig)
    batch_size: int = 64
    """images of an update of any network"""

    lr_floor: float = 0.1
    """fraction of every learning rate that is left at the end of its cosine; 1 keeps them constant"""

    patience = None  # no metric of a GAN falls all the time

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gan.check(self.critic)
        settings.bounds(self, batch_size=(2, None), lr_floor=(0.0, 1.0))


@torch.no_grad()
def update_ema(ema: nn.Module, module: nn.Module, *, decay: float, updates: int) -> None:
    """Update an exponential moving average of a module's weights; buffers are copied.

    The decay is min(decay, (1 + updates) / (10 + updates)), so that the first weights are soon forgotten.
    """
    optim.update_ema(ema, module, decay=min(decay, (1 + updates) / (10 + updates)))
    for old, new in zip(ema.buffers(), module.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def decode_in_chunks(
    decoder: nn.Module, latents: Tensor, labels: Tensor | None, shape: Shape | None = None
) -> Tensor:
    """Return the images of latents, some at a time; (N, Z), (N,) or None → (N, C, H, W) in [0, 1].

    shape: of an image; fewer large ones are decoded at a time.
    """
    size = CHUNK if shape is None else at_a_time(CHUNK, shape)
    chunks = [slice(first, first + size) for first in range(0, len(latents), size)]
    return torch.cat(
        [
            torch.sigmoid(decoder(latents[chunk], None if labels is None else labels[chunk]))
            for chunk in chunks
        ]
    )


def diversity(generated: Tensor, held_out: Tensor) -> Metrics:
    """Compare the total variance of generated images with that of held-out ones; (N, C, H, W), (M, C, H, W).

    `diversity` is their ratio, 1 where both vary as much; there is none where held-out images do not vary.
    """
    variance, real_variance = (
        float(images.var(dim=0, unbiased=False).sum()) for images in (generated, held_out)
    )
    return {"diversity": variance / real_variance} if real_variance else {}


def collapsed(report: Metrics, highest: float, *, progress: float = 0.0, updates: int = 0) -> str | None:
    """Return a message where the generator has collapsed, else None.

    It has where the diversity is below a tenth of the highest so far, and where it was never above a
    twentieth of that of real images although half of the training is over. Of the first few hundred updates
    that is not said of a generator that has not varied yet: its diversity may fall before it rises.
    """
    now = report.get("diversity", highest)
    has_fallen = not now >= COLLAPSE_RATIO * highest  # NaN is a collapse, too
    has_varied, has_learned = highest >= NEVER_DIVERSE, updates >= FEWEST_UPDATES
    if has_fallen and has_varied:
        return (
            f"the generator has collapsed: the diversity of its images fell from {highest:.2f} to {now:.3f}"
        )
    is_late = "diversity" in report and progress >= 0.5
    if has_learned and not has_varied and (has_fallen or is_late):
        return (
            "the generator has collapsed from the first step on: the diversity of its images was at most "
            f"{highest:.3f}, that of real ones being 1; try a lower --set lr=… or another --set gan.loss=…"
        )
    return None


def check_diverged(report: Metrics, module: nn.Module) -> None:
    """Raise FloatingPointError where a loss, a gap of scores or a weight says that training has diverged.

    All of it is finite where weights have grown by the millions: sigmoids saturate, and normalisation layers
    take the scale out.
    """
    for name, value in report.items():
        if ("loss" in name or "gap" in name) and not abs(value) < DIVERGED:
            raise FloatingPointError(f"{name} is {value:.3g}")
    largest = torch.stack([parameter.detach().abs().amax() for parameter in module.parameters()]).amax()
    if not float(largest) < DIVERGED_WEIGHT:
        raise FloatingPointError(f"a weight is {float(largest):.3g}")
