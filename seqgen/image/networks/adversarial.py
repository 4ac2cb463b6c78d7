"""What the adversarial models of images share: the game's settings, smooth critics, averages, variety."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.networks.networks import NetConfig

Metrics = dict[str, float]

ROWS = 1000
"""Images written at a time: bounds memory."""
COLLAPSED = 0.1
"""Share of the most variety so far below which a generator has collapsed."""


@dataclass(frozen=True)
class GameConfig:
    """What critic and generator play for, what keeps the critic smooth, and how fast both learn."""

    loss: gan_losses.Kind = "logistic"
    """logistic is the non-saturating game; energy makes an energy of the critic's score by a softplus"""
    penalty: float | None = None
    """weight of (‖slope‖ - 1)² between real and made samples (WGAN-GP); none: 1 with wasserstein, else 0"""
    r1: float | None = None
    """weight γ of ½ ‖slope‖² at real samples (Mescheder et al. 2018); none: 0 with wasserstein, else by the
    critic, 2 if dense, 0.5 if conv"""
    lr: float | None = None
    """Adam's learning rate at the start of all but critics, a cosine to a tenth follows for all; none: by the
    net, 0.002 if dense, 0.0005 if conv"""
    critic_lr: float | None = None
    """learning rate of critics; none: by the net as well"""
    beta1: float = 0.0
    """decay of every Adam's mean of gradients"""
    beta2: float = 0.99
    """decay of every Adam's mean of squared gradients"""
    average: float = 0.999
    """what averaged networks keep of themselves at each update; 0 uses the last weights"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            penalty=(0.0, None),
            r1=(0.0, None),
            lr=(0.0, None),
            critic_lr=(0.0, None),
            beta1=(0.0, 0.9999),
            beta2=(0.0, 0.9999),
            average=(0.0, 1.0),
        )

    @property
    def slope_weight(self) -> float:
        """Weight of the gradient penalty."""
        if self.penalty is None:
            return 1.0 if self.loss == "wasserstein" else 0.0
        return self.penalty

    def r1_weight(self, critic: NetConfig) -> float:
        """Weight of a critic's zero-centred penalty."""
        if self.r1 is not None:
            return self.r1
        if self.loss == "wasserstein":
            return 0.0
        return 0.5 if critic.kind == "conv" else 2.0

    def check(self, critic: NetConfig) -> None:
        """Raise UserError where a critic whose slope is penalised would be normalised over the batch."""
        if critic.normalise == "batch" and (self.slope_weight or self.r1_weight(critic)):
            raise UserError(
                "critic.normalise=batch mixes the images whose slopes the penalty takes one by one; "
                "set critic.normalise to layer or none, or penalty=0 and r1=0"
            )

    def adam(self, module: nn.Module, net: NetConfig, *, critic: bool = False) -> Optimizer:
        """Return the optimiser of a network."""
        given = self.critic_lr if critic else self.lr
        usual = 5e-4 if net.kind == "conv" else 2e-3
        lr = usual if given is None else given
        return optim.adamw(module, lr=lr, betas=(self.beta1, self.beta2))

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return what the critic minimises; scores (R,), (F,), higher is more real → scalar."""
        return gan_losses.critic_loss(self.loss, self._judged(real), self._judged(fake))

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return what the generator minimises; scores (F,) → scalar."""
        return gan_losses.generator_loss(self.loss, self._judged(fake))

    def _judged(self, scores: Tensor) -> Tensor:
        return F.softplus(-scores) if self.loss == "energy" else scores

    def smoothness(
        self, net: NetConfig, critic: Callable[[Tensor], Tensor], real: Tensor, *fakes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted penalties of a critic's slope, and each before its weight; real, fakes (B, …).

        Where there are several kinds of made samples, each has its share of the pairs.
        """
        total, figures = real.new_zeros(()), {}
        if self.slope_weight:
            rows = torch.arange(len(real), device=real.device)
            fake = torch.stack([made.detach() for made in fakes])[rows % len(fakes), rows]
            figures["penalty"] = gan_losses.gradient_penalty(critic, real, fake)
            total = total + self.slope_weight * figures["penalty"]
        if weight := self.r1_weight(net):
            figures["r1"] = gan_losses.zero_centred_penalty(critic, real)
            total = total + weight * figures["r1"]
        return total, {name: penalty.detach() for name, penalty in figures.items()}


class Player(nn.Module):
    """What adversarial models of images share: counts, samples of averaged networks, a stop at collapse.

    A model has a `decode`, which turns codes into images by the average of its past weights.
    """

    monitor: str | None = None
    updates: Tensor
    """Updates so far; scalar."""
    most_variety: Tensor
    """The highest variety of the reports so far; scalar."""

    def __init__(self, *, code: int, classes: int) -> None:
        super().__init__()
        self.code, self.classes = code, classes
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("most_variety", torch.zeros(()))

    @abstractmethod
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of codes; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""

    def given(self, labels: Tensor | None) -> Tensor | None:
        """Return the labels where the model is conditional on them."""
        return labels if self.classes else None

    def vary(self, made: Tensor, held_out: Tensor) -> Metrics:
        """Compare the variety of made images with that of held-out ones, and remember the most."""
        figures = variety(made, held_out)
        self.most_variety.clamp_(min=figures.get("variety", 0.0))
        return figures

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop on collapse: the weights of the last good report are kept."""
        return collapsed(report, float(self.most_variety))

    def samples(self, n: int) -> Tensor:
        """Draw n images to show, of the same codes every time, of the labels 0, 1, 2, … in turn."""
        return self.sample(n, rng=torch.Generator(self.updates.device).manual_seed(0))

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None, rng: torch.Generator | None = None) -> Tensor:
        """Draw n images of prior codes; labels (n,), in turn where none are given; → (n, C, H, W)."""
        device = self.updates.device
        codes = torch.randn(n, self.code, generator=rng, device=device)
        return self.decode(codes, in_turn(n, self.classes, device) if labels is None else labels)


def slow_down(optimizers: Iterable[Optimizer], progress: float) -> None:
    """Set the learning rates for `progress` in [0, 1], along a cosine to a tenth."""
    for optimizer in optimizers:
        optim.scale_lr(optimizer, optim.warmup_cosine(progress, warmup=0.0, floor=0.1))


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, *, keep: float, updates: int) -> None:
    """Move an average of a module's weights along: θ′ ← k · θ′ + (1 - k) · θ; buffers are taken over.

    k = min(keep, (1 + updates) / (10 + updates)), so that the first weights are soon forgotten.
    """
    keep = min(keep, (1 + updates) / (10 + updates))
    for mine, new in zip(average.parameters(), module.parameters(), strict=True):
        mine.lerp_(new, 1 - keep)
    for counted, counts in zip(average.buffers(), module.buffers(), strict=True):
        counted.copy_(counts)


@torch.no_grad()
def written(writer: nn.Module, codes: Tensor, labels: Tensor | None) -> Tensor:
    """Return the images of codes, by parts; (N, Z), (N,) or None → (N, C, H, W) in [0, 1]."""
    parts = [slice(first, first + ROWS) for first in range(0, len(codes), ROWS)]
    return torch.cat(
        [torch.sigmoid(writer(codes[part], None if labels is None else labels[part])) for part in parts]
    )


def in_turn(n: int, classes: int, device: torch.device) -> Tensor | None:
    """Return the labels 0, 1, 2, … in turn; (n,), None where there are no classes."""
    return torch.arange(n, device=device) % classes if classes else None


def variety(made: Tensor, held_out: Tensor) -> Metrics:
    """Compare the total variance of made images with that of held-out ones; (N, C, H, W), (M, C, H, W).

    `variety` is their ratio, 1 where both are as varied; nothing where held-out images do not vary.
    """
    own, wanted = (float(images.var(dim=0, unbiased=False).sum()) for images in (made, held_out))
    return {"variety": own / wanted} if wanted else {}


def collapsed(report: Metrics, most: float) -> str | None:
    """Say so where a report's variety has fallen below a tenth of the most so far."""
    now = report.get("variety", most)
    if now >= COLLAPSED * most:
        return None
    return f"the images have collapsed: their variety fell from {most:.2f} to {now:.3f}"
