"""Networks between images and vectors, dense or convolutional: encoders and decoders.

An encoder also serves as a critic or a classifier, a decoder as the generator of a GAN.

B batch, C channels, H × W pixels, Z latent dimensions. An image is (B, C, H, W) in [0, 1]; a label is a whole
number, -1 where there is none, and enters as its one-hot vector (all zeros for -1).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from seqgen.core import settings

Network = TypeVar("Network", "ImageEncoder", "ImageDecoder")
Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

FIRST_BIAS_RANGE = 2.0
"""Bound of the first biases of a decoder with orthogonal weights: in standard deviations of a latent,
about."""

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

    kind: Literal["dense", "conv"] = "dense"
    """dense layers, or convolutions; an encoder has one dense layer between its convolutions and its
    output"""
    hidden: int = 512
    """units of a dense layer"""
    layers: int = 2
    """dense layers between image and latent; of a conv net the convolutions, each halving height and width as
    long as four pixels are left"""
    channels: int = 32
    """channels of a conv net's first convolution; each further one has twice as many"""
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
        settings.bounds(self, hidden=(1, None), layers=(0, None), channels=(1, None), dropout=(0.0, 0.99))


def default_lr(net: NetConfig) -> float:
    """Return a peak learning rate of Adam that suits a net: the wider and deeper, the lower."""
    return 1e-3 if net.kind == "conv" else min(2.56 / (net.hidden * max(net.layers, 1)), 5e-3)


def peak_lr(net: NetConfig, lr: float | None) -> float:
    """Return the learning rate of the settings, or the default of the net where they leave it open."""
    return default_lr(net) if lr is None else lr


class ImageEncoder(nn.Module):
    """From an image, with a label or an extra vector where there is one, to a vector."""

    def __init__(self, net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, extra: int = 0):
        super().__init__()
        self.classes, self.extra = classes, extra
        self.convolutions, maps = (_convolutions if net.kind == "conv" else _flatten)(net, shape)
        dense = 1 if net.kind == "conv" else net.layers
        sizes = [math.prod(maps) + classes + extra, *[net.hidden] * dense]
        self.body = nn.Sequential(*(_dense(net, a, b, dropout=net.dropout) for a, b in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], outputs)

    def features(self, images: Tensor, labels: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """Return the last hidden layer; (B, C, H, W), (B,), (B, extra) → (B, hidden)."""
        maps = self.convolutions(images)
        return self.body(with_condition(maps, labels, extra, classes=self.classes, width=self.extra))

    def forward(self, images: Tensor, labels: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,), (B, extra) → (B, outputs)."""
        return self.head(self.features(images, labels, extra))


class ImageDecoder(nn.Module):
    """From a latent, with a label where there is one, to the logits of an image."""

    def __init__(self, net: NetConfig, latent_dim: int, shape: Shape, *, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.deconvolutions, maps = (_deconvolutions if net.kind == "conv" else _unflatten)(net, shape)
        dense = 0 if net.kind == "conv" else net.layers
        sizes = [latent_dim + classes, *[net.hidden] * dense]
        self.body = nn.Sequential(*(_dense(net, a, b) for a, b in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], math.prod(maps))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) → (B, C, H, W), any real number; its sigmoid is the image."""
        inputs = with_condition(latents, labels, None, classes=self.classes, width=0)
        return self.deconvolutions(self.head(self.body(inputs)))


def build_encoder(
    net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, extra: int = 0
) -> ImageEncoder:
    """Return a fresh encoder, critic or classifier.

    Args:
        classes: labels that it is conditional on, 0 for none.
        extra: width of a vector that it gets beside the image, such as noise or a latent; 0 for none.
    """
    return _initialise(ImageEncoder(net, shape, outputs, classes=classes, extra=extra), net)


def build_decoder(net: NetConfig, latent_dim: int, shape: Shape, *, classes: int = 0) -> ImageDecoder:
    """Return a fresh decoder or generator; `classes` as for `build_encoder`."""
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
    init = net.init or ("normal" if net.kind == "conv" else "uniform")
    if init == "uniform":
        return network
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if init == "normal":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                _orthogonal(layer.weight, is_last=layer is network.head)
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


def _dense(net: NetConfig, inputs: int, outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if net.normalise != "none":
        parts.append(nn.BatchNorm1d(outputs) if net.normalise == "batch" else nn.LayerNorm(outputs))
    parts.append(ACTIVATIONS[net.activation]())
    if dropout:
        parts.append(nn.Dropout(dropout))
    return nn.Sequential(*parts)


def _flatten(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Flatten(), shape


def _unflatten(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Unflatten(1, shape), shape


def _normalisation(net: NetConfig, channels: int) -> list[nn.Module]:
    if net.normalise == "none":
        return []
    return [nn.BatchNorm2d(channels) if net.normalise == "batch" else nn.GroupNorm(1, channels)]


def _shapes(net: NetConfig, shape: Shape) -> list[Shape]:
    """Return the image's shape and that after each convolution: height and width are halved, rounded down."""
    shapes = [shape]
    for layer in range(net.layers):
        _, height, width = shapes[-1]
        if min(height, width) < 8:
            break
        shapes.append((net.channels * 2**layer, height // 2, width // 2))
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
