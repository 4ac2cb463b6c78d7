"""The critic of adversarial variational Bayes: it tells a posterior's latents from those of a Gaussian.

B images or sentences, S draws of each, Z latent dimensions, H units of an encoder's last hidden layer.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from seqgen.core import settings

INITIAL_LOADING = 0.1
"""Initial loadings of the common noise, about, relative to the 1 of a dimension's independent noise."""


@dataclass(frozen=True)
class PosteriorCriticConfig:
    """The critic T(x, z)."""

    hidden: int = 256
    """units of a layer"""
    layers: int = 2
    """layers between the latent and the score"""
    steps: int = 2
    """updates for each update of encoder and decoder"""
    draws: int = 4
    """latents of each input in an update, from the posterior and as many from the Gaussian"""
    lr: float = 1e-3
    """peak learning rate of its Adam"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, hidden=(1, None), layers=(1, None), steps=(1, None), draws=(1, None), lr=(0.0, None)
        )


def noise_loadings(features: int, noise_dim: int, latent_dim: int) -> nn.Linear:
    """Return the layer from an encoder's features to the loadings of the common noise, small at first."""
    layer = nn.Linear(features, 2 * noise_dim * latent_dim)
    nn.init.normal_(layer.weight, std=INITIAL_LOADING / features**0.5)
    nn.init.zeros_(layer.bias)
    return layer


class PosteriorCritic(nn.Module):
    """T(x, z): the log ratio, nats, of a whitened latent's density under the posterior to that of N(0, I)."""

    def __init__(self, config: PosteriorCriticConfig, features: int, latent_dim: int) -> None:
        super().__init__()
        # Named as in the weights of image runs; of a sentence it is what its latent vector is made of.
        self.from_image = nn.Linear(features, config.hidden)
        self.from_latent = nn.Linear(latent_dim, config.hidden, bias=False)
        layers: list[nn.Module] = [nn.SiLU()]
        for _ in range(config.layers - 1):
            layers += [nn.Linear(config.hidden, config.hidden), nn.SiLU()]
        last = nn.Linear(config.hidden, 1)
        nn.init.zeros_(last.weight)  # an untrained critic gives every latent the same score
        self.body = nn.Sequential(*layers, last)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """(B, H), (B, S, Z) → (B, S)."""
        return self.body(self.from_image(features)[:, None] + self.from_latent(latents)).squeeze(-1)
