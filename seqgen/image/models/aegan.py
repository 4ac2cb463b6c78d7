"""AEGAN: an encoder and a generator that undo each other, and a critic on either side (Lazarou 2020).

The generator makes images x̂ = G(z) of prior codes, the encoder codes ẑ = E(x) of images; two cycles lead
back, x' = G(E(x)) and z' = E(G(z)). One critic tells images from x̂ and x', another prior codes from ẑ and z'
(arXiv:2004.05472). To these come the gradient penalty of both critics (Gulrajani et al. 2017), any of the
games of `seqgen.functional.gan_losses`, the energy-based one among them, and the generator's Dirichlet energy ½ E‖∂G/∂z‖²,
which asks for the smoothest map that plays as well. Every loss has a weight, and 0 switches it off.

Encoder and generator share one loss and one optimiser, as they undo each other; the critics have their own.

Report figures: of the training batches, for `images` and `codes` each, the critic's `d_loss_…`, penalties
included, and its `gap_…` between real and made; `image_cycle`, Σ(x - x')² of an image; `code_cycle`, the same
of a code; `dirichlet`, the energy; `g_loss`, the loss of encoder and generator; `grad_norm`, theirs; `lr`.
Then, on held-out images, `valid_error`, the Σ(x - x')² of the averaged networks; `code_variance`, the mean
variance of a unit of their codes, 1 of the prior's; and `variety` as for `gan`.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.networks import adversarial
from seqgen.image.networks.adversarial import GameConfig, Metrics
from seqgen.image.networks.config import Schedule
from seqgen.image.networks.networks import NetConfig, Shape, reader, writer


@dataclass(frozen=True)
class ImageAEGANConfig(Schedule):
    """Settings of the AEGAN of images."""

    READ, PASSES = 1_000_000, (10, 80)

    encoder: NetConfig = field(default_factory=NetConfig)
    generator: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    critic: NetConfig = field(default_factory=lambda: NetConfig(activation="leaky_relu"))
    code_critic: NetConfig = field(
        default_factory=lambda: NetConfig(hidden=128, layers=2, activation="leaky_relu")
    )
    game: GameConfig = field(default_factory=lambda: GameConfig(r1=0.2))
    code: int = 32
    """units of the code"""
    conditional: bool = False
    """all four networks read the label"""
    images: float = 1.0
    """weight of the game of images"""
    codes: float = 1.0
    """weight of the game of codes"""
    image_cycle: float = 0.02
    """weight of ½ Σ(x - x')² of an image"""
    code_cycle: float = 0.02
    """weight of ½ Σ(z - z')² of a code"""
    dirichlet: float = 1e-4
    """weight of the generator's Dirichlet energy"""
    batch_size: int = 64
    """images, and codes, a step"""
    epochs: int | None = None
    """passes over the training split; none: about 1,000,000 images in all, 10 to 80 passes"""

    patience = None  # a game has no figure that only falls

    def __post_init__(self) -> None:
        super().__post_init__()
        for critic in (self.critic, self.code_critic):
            self.game.check(critic)
        if not any((self.images, self.codes, self.image_cycle, self.code_cycle, self.dirichlet)):
            raise UserError(
                "every loss is off; give images, codes, image_cycle, code_cycle or dirichlet a weight"
            )
        settings.bounds(
            self,
            code=(1, None),
            images=(0.0, None),
            codes=(0.0, None),
            image_cycle=(0.0, None),
            code_cycle=(0.0, None),
            dirichlet=(0.0, None),
            batch_size=(2, None),
        )


class ImageAEGAN(adversarial.Player):
    """An encoder, a generator, the averages of both, and a critic of images and one of codes."""

    Config = ImageAEGANConfig

    def __init__(self, config: ImageAEGANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(code=config.code, classes=classes if config.conditional else 0)
        self.config = config
        self.encoder = reader(config.encoder, shape, config.code, classes=self.classes)
        self.generator = writer(config.generator, config.code, shape, classes=self.classes)
        self.critic = reader(config.critic, shape, 1, classes=self.classes)
        row = (1, 1, config.code)  # a code is read as an image of one row
        self.code_critic = reader(config.code_critic, row, 1, classes=self.classes)
        self.average = copy.deepcopy(self._makers()).requires_grad_(False)

    def _makers(self) -> nn.ModuleList:
        return nn.ModuleList([self.encoder, self.generator])

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, adam = self.config, self.config.game.adam
        self.optimizers = {
            "makers": adam(self._makers(), c.generator),
            "critic": adam(self.critic, c.critic, critic=True),
            "code_critic": adam(self.code_critic, c.code_critic, critic=True),
        }

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move encoder and generator together and each critic by one batch."""
        c = self.config
        self.train()
        adversarial.slow_down(self.optimizers.values(), progress)
        losses, figures = self.losses(batch)
        norms = optim.update({self.optimizers[name]: loss for name, loss in losses.items()})
        makers = self.optimizers["makers"]
        self.updates += 1
        adversarial.follow(self.average, self._makers(), keep=c.game.average, updates=int(self.updates))
        return figures | {"grad_norm": norms[makers], "lr": makers.param_groups[0]["lr"]}

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Return the losses by the names of their optimisers, and figures."""
        c, labels = self.config, self.given(batch.labels)
        images, codes = batch.images, torch.randn(len(batch.images), c.code, device=batch.images.device)
        found = self.encoder(images, labels)
        twice = None if labels is None else labels.repeat(2)
        made, rebuilt = self._make(torch.cat((codes, found)), twice).chunk(2)  # normalised as one batch
        refound = self.encoder(made, labels)
        image_cycle, code_cycle = (
            gan_losses.feature_distance(end.flatten(1), start.flatten(1))
            for start, end in ((images, rebuilt), (codes, refound))
        )
        total = c.image_cycle * image_cycle + c.code_cycle * code_cycle
        figures: dict[str, Tensor | float] = {
            "image_cycle": 2 * image_cycle.detach(),
            "code_cycle": 2 * code_cycle.detach(),
        }
        if c.dirichlet:
            energy = gan_losses.dirichlet_energy(lambda z: self._make(z, labels), codes)
            total = total + c.dirichlet * energy
            figures["dirichlet"] = energy.detach()
        losses = {}
        games = {
            "critic": (c.images, lambda x: self.critic(x, labels)[:, 0], images, made, rebuilt),
            "code_critic": (c.codes, lambda z: self._code_scores(z, labels), codes, found, refound),
        }
        for name, (weight, critic, *samples) in games.items():
            if weight:
                losses[name], verdict, told = self._play(name, critic, *samples)
                total = total + weight * verdict
                figures |= told
        return {"makers": total, **losses}, figures | {"g_loss": total.detach()}

    def _play(
        self, name: str, critic: Callable[[Tensor], Tensor], real: Tensor, *fakes: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return a critic's loss, that of the makers, and figures."""
        g = self.config.game
        on_real, on_fake = critic(real), torch.cat([critic(fake) for fake in fakes])
        rough, _ = g.smoothness(getattr(self.config, name), critic, real, *fakes)
        loss = g.critic_loss(on_real, on_fake) + rough
        side = {"critic": "images", "code_critic": "codes"}[name]
        gap = (on_real.mean() - on_fake.mean()).detach()
        figures = {f"d_loss_{side}": loss.detach(), f"gap_{side}": gap}
        return loss, g.generator_loss(on_fake), figures

    def _make(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        return torch.sigmoid(self.generator(codes, labels))

    def _code_scores(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        return self.code_critic(codes[:, None, None], labels)[:, 0]

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure the cycle of held-out images, their codes, and how varied made images are."""
        held_out, codes, errors = [], [], []
        for images, labels in batches:
            found = self.encode(images, labels)
            held_out.append(images)
            codes.append(found)
            errors.append(_errors(images, self.decode(found, labels)))
        variance = float(torch.cat(codes).var(dim=0, unbiased=False).mean())
        figures = {"valid_error": float(torch.cat(errors).mean()), "code_variance": variance}
        return figures | self.vary(self.sample(adversarial.ROWS), torch.cat(held_out))

    @torch.no_grad()
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the codes of images by the averaged encoder; (B, C, H, W) → (B, Z)."""
        self.eval()
        return self.average[0](images, self.given(labels))

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of codes; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""
        self.eval()
        return adversarial.written(self.average[1], codes, self.given(labels))

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the cycle's end x' of images; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is: the Σ(x - x')² of its cycle; (B, C, H, W) → (B,)."""
        return _errors(images, self.reconstruct(images, labels))


def _errors(images: Tensor, rebuilt: Tensor) -> Tensor:
    return (rebuilt - images).square().flatten(1).sum(dim=1)
