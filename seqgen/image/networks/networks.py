"""Networks between images and vectors, dense or convolutional: encoders and decoders.

An encoder also serves as a critic or a classifier, a decoder as the generator of a GAN.

B batch, C channels, H × W pixels, Z latent dimensions. An image is (B, C, H, W) in [0, 1]; a label is a whole
number, -1 where there is none, and enters as its one-hot vector (all zeros for -1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional.dropout import Dropout
from seqgen.models.batch_norm import BatchNorm1d, BatchNorm2d

Network = TypeVar("Network", "ImageEncoder", "ImageDecoder")
Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

FIRST_BIAS_RANGE = 2.0
"""Bound of the first biases of a decoder with orthogonal weights: in standard deviations of a latent,
about."""

CONV_PIXELS = 32 * 32
"""Pixels of an image from which on networks are convolutional where their kind is not set: on larger ones
dense ones learn slowly, and a variational autoencoder of them diverges."""
LEAST_HALVED = 8
"""Pixels of a side that a convolution still halves."""
DENSE_LAYERS, CHANNELS, MOST_CHANNELS = 2, 32, 256
"""Layers of a dense net, channels of the first convolution, and most of the last one, where not set."""
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class NetConfig:
    """An encoder or a decoder; a decoder is the mirror image of the encoder with the same settings."""

    kind: Literal["dense", "conv", "parallel"] | None = None
    """dense layers; convolutions, after which an encoder has one dense layer; or both side by side: an
    encoder's last hidden layers are joined, a decoder's images added up; none: by the size of the images,
    conv from 32×32 pixels on"""
    hidden: int = 512
    """units of a dense layer"""
    layers: int | None = None
    """dense layers between image and latent; of a conv or parallel net the convolutions, each halving height
    and width as long as four pixels are left; none: 2 if dense, as many as there can be otherwise"""
    widths: tuple[int, ...] | None = None
    """units of each dense layer, in order, as in 1024,512,256, in place of hidden and of a dense net's
    layers; of a conv net the layers between convolutions and vector, of a parallel one those beside the
    convolutions; a decoder with an encoder's settings has them in reverse"""
    channels: int | None = None
    """channels of a conv net's first convolution; each further one has twice as many; none: 32, fewer where
    the last one would have more than 256"""
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "tanh"] = "relu"
    """activation after every layer but the last"""
    normalise: Literal["none", "batch", "layer"] = "none"
    """normalisation of every layer but the last: batch normalisation or layer normalisation"""
    dropout: float = 0.0
    """dropout rate of an encoder's hidden layers in training"""
    init: Literal["uniform", "orthogonal", "normal"] | None = None
    """initial weights: uniform is torch's own; orthogonal (Saxe et al. 2014) keeps the variance of a signal
    from layer to layer; normal has the standard deviation 0.02 (Radford et al. 2016); none: uniform if dense,
    normal if conv"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            hidden=(1, None),
            layers=(0, None),
            widths=(1, None),
            channels=(1, None),
            dropout=(0.0, 0.99),
        )
        if self.kind == "dense" and self.widths and self.layers not in (None, len(self.widths)):
            given = ",".join(map(str, self.widths))
            raise UserError(
                f"widths={given} are {len(self.widths)} dense layers, and layers={self.layers}; leave layers "
                "out"
            )

    def sized(self, shape: Shape) -> "NetConfig":
        """Return the settings with what they leave open chosen by the shape of the images."""
        _, height, width = shape
        is_large = height * width >= CONV_PIXELS and min(height, width) >= LEAST_HALVED
        kind = self.kind or ("conv" if is_large else "dense")
        if kind == "dense":
            layers, channels = len(self.widths or ()) or DENSE_LAYERS, CHANNELS
        else:
            layers = halvings(height, width)
            deepest = min(layers if self.layers is None else self.layers, layers)
            channels = max(min(CHANNELS, MOST_CHANNELS >> max(deepest - 1, 0)), 1)
        return replace(
            self,
            kind=kind,
            layers=layers if self.layers is None else self.layers,
            channels=self.channels or channels,
        )

    @property
    def depth(self) -> int:
        """The layers, as of a dense net where they are left open."""
        return DENSE_LAYERS if self.layers is None else self.layers

    @property
    def convolves(self) -> bool:
        """Whether it has convolutions."""
        return self.kind in ("conv", "parallel")

    @property
    def dense_widths(self) -> tuple[int, ...]:
        """Units of the layers of a dense net, or of those beside the convolutions."""
        if self.widths:
            return self.widths
        return (self.hidden,) * (DENSE_LAYERS if self.kind == "parallel" else self.depth)

    def mirrored(self) -> "NetConfig":
        """Return the settings of the decoder that mirrors an encoder of these settings."""
        return replace(self, widths=self.widths and self.widths[::-1])


def halvings(height: int, width: int) -> int:
    """Return how many times height and width can be halved, rounded down, while four pixels are left."""
    return max(min(height, width).bit_length() - LEAST_HALVED.bit_length() + 1, 0)


def default_lr(net: NetConfig) -> float:
    """Return a peak learning rate of Adam that suits a net: the wider and deeper, the lower."""
    return 1e-3 if net.convolves else min(2.56 / (sum(net.dense_widths) or net.hidden), 5e-3)


class ImageEncoder(nn.Module):
    """From an image, with a label or an extra vector where there is one, to a vector."""

    compiled: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(self, net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, extra: int = 0):
        super().__init__()
        net = net.sized(shape)
        self.classes, self.extra = classes, extra
        self.convolutions, maps = (_convolutions if net.convolves else _flatten)(net, shape)
        widths = {"conv": net.widths or (net.hidden,), "parallel": (net.hidden,)}.get(
            str(net.kind), net.dense_widths
        )
        self.body, hidden = _layers(net, math.prod(maps) + classes + extra, widths, dropout=net.dropout)
        self.beside: nn.Sequential | None = None
        """The dense layers beside the convolutions of a parallel net."""
        if net.kind == "parallel":
            inputs = math.prod(shape) + classes + extra
            self.beside, more = _layers(net, inputs, net.dense_widths, dropout=net.dropout)
            hidden += more
        self.head = nn.Linear(hidden, outputs)

    def features(self, images: Tensor, labels: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """Return the last hidden layer; (B, C, H, W), (B,), (B, extra) → (B, hidden).

        Of a parallel net that of the convolutions, then that of the dense layers beside them.
        """

        def given(inputs: Tensor) -> Tensor:
            return with_condition(inputs, labels, extra, classes=self.classes, width=self.extra)

        features = self.body(given(self.convolutions(images)))
        if self.beside is None:
            return features
        return torch.cat([features, self.beside(given(images.flatten(1)))], dim=1)

    def forward(self, images: Tensor, labels: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,), (B, extra) → (B, outputs)."""
        return self.head(self.features(images, labels, extra))


class ImageDecoder(nn.Module):
    """From a latent, with a label where there is one, to the logits of an image."""

    compiled: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(self, net: NetConfig, latent_dim: int, shape: Shape, *, classes: int = 0):
        super().__init__()
        net = net.sized(shape)
        self.classes, self.shape = classes, shape
        self.deconvolutions, maps = (_deconvolutions if net.convolves else _unflatten)(net, shape)
        widths = {"conv": net.widths or (), "parallel": ()}.get(str(net.kind), net.dense_widths)
        self.body, hidden = _layers(net, latent_dim + classes, widths)
        self.head = nn.Linear(hidden, math.prod(maps))
        self.beside: nn.Sequential | None = None
        """The dense layers beside the convolutions of a parallel net."""
        if net.kind == "parallel":
            self.beside, hidden = _layers(net, latent_dim + classes, net.dense_widths)
            self.beside.append(nn.Linear(hidden, math.prod(shape)))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) → (B, C, H, W), any real number; its sigmoid is the image."""
        inputs = with_condition(latents, labels, None, classes=self.classes, width=0)
        images = self.deconvolutions(self.head(self.body(inputs)))
        return images if self.beside is None else images + self.beside(inputs).unflatten(1, self.shape)


def build_encoder(
    net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, extra: int = 0
) -> ImageEncoder:
    """Return a fresh encoder, critic or classifier.

    Args:
        classes: labels that it is conditional on, 0 for none.
        extra: width of a vector that it gets beside the image, such as noise or a latent; 0 for none.
    """
    net = net.sized(shape)
    return _initialise(ImageEncoder(net, shape, outputs, classes=classes, extra=extra), net)


def build_decoder(net: NetConfig, latent_dim: int, shape: Shape, *, classes: int = 0) -> ImageDecoder:
    """Return a fresh decoder or generator; `classes` as for `build_encoder`."""
    net = net.sized(shape)
    return _initialise(ImageDecoder(net, latent_dim, shape, classes=classes), net)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels as one-hot vectors, -1 as zeros alone; (B,) → (B, classes)."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def with_condition(
    inputs: Tensor, labels: Tensor | None, extra: Tensor | None, *, classes: int, width: int
) -> Tensor:
    """Return inputs (B, N) with the one-hot labels and the extra vector appended, where the net takes them.

    Raises:
        ValueError: labels or an extra vector are missing, or are given to a net that takes none.
    """
    if bool(classes) != (labels is not None):
        need = "needs labels: it is conditional" if classes else "takes no labels: it is not conditional"
        raise ValueError(f"this net {need}")
    if bool(width) != (extra is not None):
        raise ValueError(f"this net {'needs an' if width else 'takes no'} extra vector")
    parts = [inputs]
    if labels is not None:
        parts.append(one_hot(labels, classes))
    if extra is not None:
        parts.append(extra)
    return torch.cat(parts, dim=1) if len(parts) > 1 else inputs


def _initialise(network: Network, net: NetConfig) -> Network:
    """Give a network the initial weights of its settings."""
    init = net.init or ("normal" if net.convolves else "uniform")
    if init == "uniform":
        return network
    is_parallel_decoder = isinstance(network, ImageDecoder) and network.beside is not None
    last_beside = network.beside[-1] if is_parallel_decoder else None  # type: ignore[index]
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if init == "normal":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                _orthogonal(layer.weight, is_last=layer is network.head or layer is last_beside)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    if init == "orthogonal" and isinstance(network, ImageDecoder) and first is not network.head:
        # With biases of zero the kinks of all units would pass through the mean of the latents.
        nn.init.uniform_(first.bias, -FIRST_BIAS_RANGE, FIRST_BIAS_RANGE)
    return network


def _orthogonal(weight: Tensor, *, is_last: bool) -> None:
    """Fill a weight with orthogonal rows or columns that keep the variance of a signal.

    The gain √2 makes up for a ReLU, which cuts half of it; a wide output is scaled up.
    """
    gain = 1.0 if is_last else math.sqrt(2)
    nn.init.orthogonal_(weight, gain * math.sqrt(max(len(weight) / weight[0].numel(), 1)))


def _layers(
    net: NetConfig, inputs: int, widths: Sequence[int], *, dropout: float = 0.0
) -> tuple[nn.Sequential, int]:
    """Return dense layers of the given widths, and the width of the last one."""
    sizes = [inputs, *widths]
    return nn.Sequential(*(_dense(net, a, b, dropout=dropout) for a, b in pairwise(sizes))), sizes[-1]


def _dense(net: NetConfig, inputs: int, outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if net.normalise != "none":
        parts.append(BatchNorm1d(outputs) if net.normalise == "batch" else nn.LayerNorm(outputs))
    parts.append(ACTIVATIONS[net.activation]())
    if dropout:
        parts.append(Dropout(dropout))
    return nn.Sequential(*parts)


def _flatten(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Flatten(), shape


def _unflatten(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Unflatten(1, shape), shape


def _normalisation(net: NetConfig, channels: int) -> list[nn.Module]:
    if net.normalise == "none":
        return []
    return [BatchNorm2d(channels) if net.normalise == "batch" else nn.GroupNorm(1, channels)]


def _shapes(net: NetConfig, shape: Shape) -> list[Shape]:
    """Return the image's shape and that after each convolution: height and width are halved, rounded down."""
    shapes = [shape]
    channels = net.channels or CHANNELS
    for layer in range(min(net.depth, halvings(*shape[1:]))):
        _, height, width = shapes[-1]
        shapes.append((channels * 2**layer, height // 2, width // 2))
    return shapes


def _convolutions(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    """Return strided convolutions with a flat output, and the shape of that output before it is flattened."""
    shapes = _shapes(net, shape)
    parts: list[nn.Module] = []
    for (inputs, *_), (outputs, *_) in pairwise(shapes):
        parts += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)]
        parts += [*_normalisation(net, outputs), ACTIVATIONS[net.activation]()]
    return nn.Sequential(*parts, nn.Flatten()), shapes[-1]


def _deconvolutions(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    """Return upsampling and convolutions from flat maps to an image, and the shape of the first maps.

    Transposed convolutions would leave checkerboard artefacts (Odena et al. 2016).
    """
    shapes = _shapes(net, shape)[::-1]
    parts: list[nn.Module] = [nn.Unflatten(1, shapes[0])]
    for (inputs, *_), (outputs, *size) in pairwise(shapes):
        parts += [*_normalisation(net, inputs), ACTIVATIONS[net.activation]()]
        parts += [nn.Upsample(size=tuple(size)), nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)]
    return nn.Sequential(*parts), shapes[0]
