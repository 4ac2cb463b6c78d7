"""Settings that image models share: the length of training, and the optimiser of models without a critic."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import nn
from torch.optim import Optimizer

from seqgen.core import optim, settings
from seqgen.image.data.dataset import Images
from seqgen.image.networks.networks import NetConfig, Shape, default_lr

SGD_FACTOR = 0.1
"""Learning rate of stochastic gradient descent where none is set, relative to Adam's: the loss is a sum over
pixels, and so is its gradient."""


@dataclass(frozen=True)
class ImageTrainingConfig:
    """The settings that every image model has."""

    TOTAL_IMAGES: ClassVar[int]
    """Images read in all, about, where `epochs` is not given; an image counts once for each epoch."""
    EPOCH_RANGE: ClassVar[tuple[int, int]]
    """Fewest and most epochs that are chosen in that case."""

    latent_dim: int = 32
    """dimensions of a latent vector (Z)"""
    conditional: bool = False
    """every network also gets the label of the image"""
    batch_size: int = 128
    """images of a step"""
    epochs: int | None = None
    """epochs of training; none: chosen by the number of training images"""
    report_every: int | None = None
    """steps between reports; none means an epoch, at most 40 reports"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, latent_dim=(1, None), batch_size=(1, None), epochs=(1, None), report_every=(1, None)
        )

    def sized(self, shape: Shape) -> Self:
        """Return the settings with what their networks leave open chosen by the shape of the images."""
        nets: dict[str, Any] = {
            name: net.sized(shape) for name, net in vars(self).items() if isinstance(net, NetConfig)
        }
        return replace(self, **nets)

    def fitted(self, images: Images) -> Self:
        """Return the settings with `epochs`, where not given, chosen by the number of training images."""
        return replace(self, epochs=self.epochs or self.default_epochs(len(images)))

    def default_epochs(self, images: int) -> int:
        """Return the epochs for so many training images."""
        fewest, most = self.EPOCH_RANGE
        return min(max(round(self.TOTAL_IMAGES / max(images, 1)), fewest), most)

    @property
    def read_size(self) -> int:
        """Images that a step reads."""
        return self.batch_size

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps; `batches` make an epoch."""
        return (self.epochs or 1) * batches


@dataclass(frozen=True)
class EncoderDecoderConfig(ImageTrainingConfig):
    """The settings of a model that trains an encoder and a decoder by one loss, with a cosine."""

    net: NetConfig = field(default_factory=lambda: NetConfig(activation="silu", init="orthogonal"))
    lr: float | None = None
    """peak learning rate; none: by the net, 0.0025 for two layers of 512 units, 0.001 if conv; of sgd a
    tenth of that"""
    decoder_lr: float | None = None
    """that of the decoder; none: the same"""
    optimizer: optim.Kind = "adam"
    """adam is AdamW; sgd has a momentum of 0.9"""
    weight_decay: float = 0.0
    """the optimiser's decay of matrices"""
    lr_floor: float = 0.0
    """fraction of it that is left at the end of the cosine; 1 keeps it constant"""
    beta2: float = 0.99
    """decay of Adam's running mean of squared gradients"""
    patience: int | None = None
    """reports without a better validation loss before training stops"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self,
            lr=(0.0, None),
            decoder_lr=(0.0, None),
            weight_decay=(0.0, None),
            lr_floor=(0.0, 1.0),
            beta2=(0.0, 0.9999),
            patience=(1, None),
        )

    def fitted(self, images: Images) -> Self:
        """Return the settings with `epochs` and `lr` chosen by images and net, where they are not given."""
        return replace(super().fitted(images), lr=self.peak_lr)

    @property
    def peak_lr(self) -> float:
        """The learning rate at its highest."""
        if self.lr is not None:
            return self.lr
        return default_lr(self.net) * (SGD_FACTOR if self.optimizer == "sgd" else 1.0)

    def build_optimizer(self, module: nn.Module, decoder: nn.Module) -> Optimizer:
        """Return the optimiser of a module, of which the decoder is a part."""
        parts = [(list(module.parameters()), self.peak_lr)]
        if self.decoder_lr is not None:
            of_decoder = set(decoder.parameters())
            others = [p for p in module.parameters() if p not in of_decoder]
            parts = [(others, self.peak_lr), (list(decoder.parameters()), self.decoder_lr)]
        betas = 0.9, self.beta2
        return optim.build(self.optimizer, parts, weight_decay=self.weight_decay, betas=betas)
