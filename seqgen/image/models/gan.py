"""Generative adversarial network (Goodfellow et al. 2014), with the losses and penalties that came after it.

What differs from the papers: both players move at once, by gradients taken before either moves, which spares
the critic a reading; and samples come from an average of the generator's past weights (Yazıcı et al. 2019),
which does not swing with the game.

Report figures: of the training batches `d_loss`, penalties included, and `g_loss`; `gap`, the critic's mean
score of real images less that of made ones; `penalty` and `r1`, the critic's penalties before their weights;
`grad_norm`, the generator's; `lr`. Then `valid_gap`, the gap of held-out images, which falls behind `gap`
where the critic knows its training images by heart, and `variety`, the total variance of made images over
that of held-out ones: 1 where they vary as much, near 0 where the generator has collapsed.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqgen.core import optim, settings
from seqgen.image.data.dataset import Batch
from seqgen.image.networks import adversarial
from seqgen.image.networks.adversarial import GameConfig, Metrics
from seqgen.image.networks.config import Schedule
from seqgen.image.networks.networks import NetConfig, Shape, reader, writer


@dataclass(frozen=True)
class GANConfig(Schedule):
    """Settings of the generative adversarial network."""

    READ, PASSES = 1_500_000, (15, 200)

    generator: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    critic: NetConfig = field(default_factory=lambda: NetConfig(activation="leaky_relu"))
    game: GameConfig = field(default_factory=GameConfig)
    code: int = 64
    """units of the noise that an image is made of"""
    conditional: bool = False
    """generator and critic read the label"""
    l1: float = 0.0
    """weight of the mean absolute difference, a pixel, from unrelated real images in the generator's loss"""
    critic_steps: int | None = None
    """updates of the critic at each of the generator; none: 5 with wasserstein, else 1"""
    batch_size: int = 64
    """images of an update of either player"""
    epochs: int | None = None
    """passes over the training split; none: about 1,500,000 images in all, 15 to 200 passes, and half as many
    more for each further update of the critic"""

    patience = None  # a game has no figure that only falls

    def __post_init__(self) -> None:
        super().__post_init__()
        self.game.check(self.critic)
        settings.bounds(self, code=(1, None), l1=(0.0, None), critic_steps=(1, None), batch_size=(2, None))

    @property
    def critic_updates(self) -> int:
        """Updates of the critic in a step."""
        return self.critic_steps or (5 if self.game.loss == "wasserstein" else 1)

    @property
    def read_size(self) -> int:
        """Real images of a step: each update of the critic sees its own."""
        return self.batch_size * self.critic_updates

    def passes(self, images: int) -> int:
        """Choose the passes over so many images: a generator that moves less often needs more of them."""
        return round(super().passes(images) * (1 + self.critic_updates) / 2)


class GAN(adversarial.Player):
    """A generator, the average of its past, and a critic."""

    Config = GANConfig

    def __init__(self, config: GANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(code=config.code, classes=classes if config.conditional else 0)
        self.config = config
        self.generator = writer(config.generator, config.code, shape, classes=self.classes)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.critic = reader(config.critic, shape, 1, classes=self.classes)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, adam = self.config, self.config.game.adam
        self.optimizers = {
            "generator": adam(self.generator, c.generator),
            "critic": adam(self.critic, c.critic, critic=True),
        }

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move the critic by each part of the batch, and along with its last move the generator."""
        c = self.config
        self.train()
        adversarial.slow_down(self.optimizers.values(), progress)
        *first, last = (Batch(*part) for part in zip(*(x.split(c.batch_size) for x in batch), strict=True))
        generator, critic = self.optimizers["generator"], self.optimizers["critic"]
        for real in first:
            with torch.no_grad():
                fake = self._make(real.labels)
            optim.update({critic: self._criticise(real, fake)[0]})
        fake = self._make(last.labels)
        d_loss, scores, figures = self._criticise(last, fake)
        g_loss = c.game.generator_loss(scores)
        if c.l1:
            g_loss = g_loss + c.l1 * (fake - last.images).abs().mean()
        norms = optim.update({critic: d_loss, generator: g_loss})
        self.updates += 1
        adversarial.follow(self.average, self.generator, keep=c.game.average, updates=int(self.updates))
        lr = generator.param_groups[0]["lr"]
        return figures | {"g_loss": g_loss.detach(), "grad_norm": norms[generator], "lr": lr}

    def _make(self, labels: Tensor) -> Tensor:
        """Make an image of each label, with gradient; (B,) → (B, C, H, W)."""
        codes = torch.randn(len(labels), self.config.code, device=labels.device)
        return torch.sigmoid(self.generator(codes, self.given(labels)))

    def _scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.critic(images, self.given(labels))[:, 0]

    def _criticise(self, real: Batch, fake: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor | float]]:
        """Return the critic's loss, its scores of the made images (B,), and figures."""
        c = self.config
        on_real, on_fake = (self._scores(images, real.labels) for images in (real.images, fake))
        rough, penalties = c.game.smoothness(
            c.critic, lambda x: self._scores(x, real.labels), real.images, fake
        )
        loss = c.game.critic_loss(on_real, on_fake) + rough
        gap = (on_real.mean() - on_fake.mean()).detach()
        return loss, on_fake, {"d_loss": loss.detach(), "gap": gap, **penalties}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the critic on held-out images, and how varied made ones are."""
        self.eval()
        held_out = [(batch.images, self._scores(*batch)) for batch in batches]
        images, scores = (torch.cat(parts) for parts in zip(*held_out, strict=True))
        made = self.sample(adversarial.ROWS)
        on_made = self._scores(made, adversarial.in_turn(len(made), self.classes, made.device))
        return {"valid_gap": float(scores.mean() - on_made.mean())} | self.vary(made, images)

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of codes; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""
        self.eval()
        return adversarial.written(self.average, codes, self.given(labels))

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is to the critic, its score negated; (B, C, H, W) → (B,)."""
        self.eval()
        return -self._scores(images, labels)
