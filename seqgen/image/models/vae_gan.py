"""VAE-GAN (Larsen et al. 2016, arXiv:1512.09300): an autoencoder whose reconstructions a critic compares.

The encoder learns from the KL divergence and from how well the critic's features of a reconstruction match
those of the image (eq. 8), the decoder from the features and from the critic's verdict on reconstructions and
on images of prior codes, the critic from its game alone; no loss reaches another's network.

What differs from the paper, and why: reconstructions and images of prior codes are half each of what the
critic takes for made, so that a critic that knows nothing is at rest at a score of 0; features may be joined
by pixels in the comparison; samples come from an average of the decoder's past weights.

Report figures: of the training batches `d_loss`, `gap`, `penalty` and `r1` as for `gan`; `kl`, KL(q(z | x) ‖
p(z)) in nats an image; `features`, half the squared distance between the features of image and
reconstruction; `error`, the squared error of a reconstruction, summed over pixels; `g_loss`, the decoder's;
`lr`. Then, on held-out images, `valid_kl`, `valid_error` and `variety` as for `gan`.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqgen.core import optim, settings
from seqgen.functional import gan_losses, gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.networks import adversarial
from seqgen.image.networks.adversarial import GameConfig, Metrics
from seqgen.image.networks.config import Schedule
from seqgen.image.networks.networks import NetConfig, Shape, reader, writer


@dataclass(frozen=True)
class VAEGANConfig(Schedule):
    """Settings of the VAE-GAN."""

    READ, PASSES = 900_000, (10, 80)

    encoder: NetConfig = field(default_factory=NetConfig)
    decoder: NetConfig = field(default_factory=lambda: NetConfig(normalise="batch"))
    critic: NetConfig = field(default_factory=lambda: NetConfig(activation="leaky_relu"))
    game: GameConfig = field(default_factory=GameConfig)
    code: int = 32
    """units of the code"""
    conditional: bool = False
    """all three networks read the label"""
    beta: float = 1.0
    """weight of the KL divergence in the encoder's loss"""
    features: float = 1.0
    """weight of the distance of features in the encoder's loss"""
    pixels: float = 0.0
    """weight of half the squared error of pixels beside the distance of features"""
    gamma: float = 0.01
    """weight of both distances in the decoder's loss, beside the game's (γ in the paper)"""
    batch_size: int = 64
    """images a step"""
    epochs: int | None = None
    """passes over the training split; none: about 900,000 images in all, 10 to 80 passes"""

    patience = None  # a game has no figure that only falls

    def __post_init__(self) -> None:
        super().__post_init__()
        self.game.check(self.critic)
        settings.bounds(
            self,
            code=(1, None),
            beta=(0.0, None),
            features=(0.0, None),
            pixels=(0.0, None),
            gamma=(0.0, None),
            batch_size=(2, None),
        )


class VAEGAN(adversarial.Player):
    """An encoder to a diagonal Gaussian over codes, a decoder, the averages of both, and a critic."""

    Config = VAEGANConfig

    def __init__(self, config: VAEGANConfig, *, shape: Shape, classes: int) -> None:
        super().__init__(code=config.code, classes=classes if config.conditional else 0)
        self.config = config
        self.encoder = reader(config.encoder, shape, 2 * config.code, classes=self.classes)
        self.decoder = writer(config.decoder, config.code, shape, classes=self.classes)
        self.critic = reader(config.critic, shape, 1, classes=self.classes)
        self.average = copy.deepcopy(nn.ModuleList([self.encoder, self.decoder])).requires_grad_(False)

    def configure(self) -> None:
        """Create the optimisers; call it once the module is on its device."""
        c, adam = self.config, self.config.game.adam
        self.optimizers = {
            "encoder": adam(self.encoder, c.encoder),
            "decoder": adam(self.decoder, c.decoder),
            "critic": adam(self.critic, c.critic, critic=True),
        }

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """Move the three networks by one batch, each by its own loss."""
        c = self.config
        self.train()
        adversarial.slow_down(self.optimizers.values(), progress)
        losses, figures = self.losses(batch)
        optim.update({self.optimizers[name]: loss for name, loss in losses.items()})
        self.updates += 1
        playing = nn.ModuleList([self.encoder, self.decoder])
        adversarial.follow(self.average, playing, keep=c.game.average, updates=int(self.updates))
        return figures | {"lr": self.optimizers["decoder"].param_groups[0]["lr"]}

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Return the loss of each network by its name, and figures."""
        c, images = self.config, batch.images
        labels = self.given(batch.labels)
        mean, log_var = self.encoder(images, labels).chunk(2, dim=1)
        # One batch: where the decoder is normalised over it, reconstructions and samples share their mean.
        codes = torch.cat([gaussian.sample(mean, log_var), torch.randn_like(mean)])
        twice = None if labels is None else labels.repeat(2)
        rebuilt, made = torch.sigmoid(self.decoder(codes, twice)).chunk(2)
        seen = [self.critic.features(x, labels) for x in (images, rebuilt, made)]
        on_real, on_rebuilt, on_made = (self.critic.head(features)[:, 0] for features in seen)
        on_fake = torch.cat([on_rebuilt, on_made])
        kl = gaussian.kl(mean, log_var).sum(dim=1).mean()
        distance = gan_losses.feature_distance(seen[1], seen[0])
        error = (rebuilt - images).square().flatten(1).sum(dim=1).mean()
        likeness = c.features * distance + c.pixels * error / 2
        rough, penalties = c.game.smoothness(
            c.critic, lambda x: self.critic(x, labels)[:, 0], images, rebuilt, made
        )
        losses = {
            "encoder": c.beta * kl + likeness,
            "decoder": c.gamma * likeness + c.game.generator_loss(on_fake),
            "critic": c.game.critic_loss(on_real, on_fake) + rough,
        }
        figures: dict[str, Tensor | float] = {
            "d_loss": losses["critic"].detach(),
            "g_loss": losses["decoder"].detach(),
            "gap": (on_real.mean() - on_fake.mean()).detach(),
            "kl": kl.detach(),
            "features": distance.detach(),
            "error": error.detach(),
            **penalties,
        }
        return losses, figures

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> Metrics:
        """Measure codes and reconstructions of held-out images, and how varied made ones are."""
        held_out, kls, errors = [], [], []
        for images, labels in batches:
            mean, log_var = self.posterior(images, labels)
            held_out.append(images)
            kls.append(gaussian.kl(mean, log_var).sum(dim=1))
            errors.append(self._error(images, self.decode(mean, labels)))
        figures = {"valid_kl": float(torch.cat(kls).mean()), "valid_error": float(torch.cat(errors).mean())}
        return figures | self.vary(self.sample(adversarial.ROWS), torch.cat(held_out))

    @torch.no_grad()
    def posterior(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return q(z | x) of the averaged encoder: mean and log-variance; (B, C, H, W) → (B, Z), (B, Z)."""
        self.eval()
        mean, log_var = self.average[0](images, self.given(labels)).chunk(2, dim=1)
        return mean, log_var

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the posterior means; (B, C, H, W) → (B, Z)."""
        return self.posterior(images, labels)[0]

    @torch.no_grad()
    def decode(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the images of codes; (N, Z), (N,) → (N, C, H, W) in [0, 1]."""
        self.eval()
        return adversarial.written(self.average[1], codes, self.given(labels))

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return what the decoder makes of the images' mean codes; (B, C, H, W) → (B, C, H, W)."""
        return self.decode(self.encode(images, labels), labels)

    @torch.no_grad()
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how strange each image is: the squared error of its reconstruction; (B, C, H, W) → (B,)."""
        return self._error(images, self.reconstruct(images, labels))

    def _error(self, images: Tensor, rebuilt: Tensor) -> Tensor:
        return (rebuilt - images).square().flatten(1).sum(dim=1)
