"""Networks between images and vectors, dense or convolutional: what reads an image, and what writes one.

B batch, C channels, H × W pixels, Z code. An image is (B, C, H, W) in [0, 1]; a label is a whole number, -1
where there is none, and enters as its one-hot vector (all zeros for -1).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from seqgen.core import settings

Net = TypeVar("Net", "Reader", "Writer")
Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

BENDS = 2.0
"""How far from a code's mean, in standard deviations, units of a writer's first layer bend at most, about."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class NetConfig:
    """A network that reads or writes images; a writer is the mirror image of its reader."""

    kind: Literal["dense", "conv"] = "dense"
    """layers of units, or convolutions, whose reader has one layer of units between them and what it gives"""
    hidden: int = 512
    """units of a dense layer"""
    layers: int = 2
    """dense layers between image and code; of a conv net the convolutions, each halving height and width as
    long as four pixels are left"""
    channels: int = 32
    """maps of a conv net's first convolution; each further one has twice as many"""
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "tanh"] = "relu"
    """what follows every layer but the last"""
    normalise: Literal["none", "batch", "layer"] = "none"
    """normalisation of every layer but the last, over the batch or over the layer's units"""
    dropout: float = 0.0
    """share of units dropped of a reader's hidden layers while it learns"""
    init: Literal["uniform", "orthogonal", "normal"] | None = None
    """starting weights: torch's own, in which a signal fades from layer to layer; orthogonal ones (Saxe et
    al. 2014) with biases that spread a code; or of deviation 0.02 (Radford et al. 2016); none: uniform if
    dense, normal if conv"""

    def __post_init__(self) -> None:
        settings.bounds(self, hidden=(1, None), layers=(0, None), channels=(1, None), dropout=(0.0, 0.99))


def usual_lr(net: NetConfig) -> float:
    """Return a peak learning rate of Adam that suits a net: the wider and deeper, the lower."""
    return 1e-3 if net.kind == "conv" else min(2.56 / (net.hidden * max(net.layers, 1)), 5e-3)


def peak_lr(net: NetConfig, lr: float | None) -> float:
    """Return the learning rate that was asked for, or the usual one of the net."""
    return usual_lr(net) if lr is None else lr


class Reader(nn.Module):
    """From an image, with a label or a vector beside it where asked for, to numbers."""

    def __init__(self, net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, beside: int = 0):
        super().__init__()
        self.classes, self.beside = classes, beside
        self.eyes, seen = (_convolutions if net.kind == "conv" else _flat)(net, shape)
        dense = 1 if net.kind == "conv" else net.layers
        sizes = [math.prod(seen) + classes + beside, *[net.hidden] * dense]
        self.body = nn.Sequential(*(_dense(net, a, b, dropout=net.dropout) for a, b in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], outputs)

    def features(self, images: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """Return the last hidden layer; (B, C, H, W), (B,), (B, beside) → (B, hidden)."""
        return self.body(joined(self.eyes(images), labels, beside, classes=self.classes, width=self.beside))

    def forward(self, images: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,), (B, beside) → (B, outputs)."""
        return self.head(self.features(images, labels, beside))


class Writer(nn.Module):
    """From a code, with a label beside it where asked for, to the logits of an image."""

    def __init__(self, net: NetConfig, code: int, shape: Shape, *, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.hand, start = (_deconvolutions if net.kind == "conv" else _unflat)(net, shape)
        dense = 0 if net.kind == "conv" else net.layers
        sizes = [code + classes, *[net.hidden] * dense]
        self.body = nn.Sequential(*(_dense(net, a, b) for a, b in pairwise(sizes)))
        self.head = nn.Linear(sizes[-1], math.prod(start))

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) → (B, C, H, W), any real number; its sigmoid is the image."""
        return self.hand(self.head(self.body(joined(codes, labels, None, classes=self.classes, width=0))))


def reader(net: NetConfig, shape: Shape, outputs: int, *, classes: int = 0, beside: int = 0) -> Reader:
    """Return a fresh reader: an encoder, a critic, a classifier.

    Args:
        classes: labels it is conditional on, 0 for none.
        beside: width of a vector that it reads beside the image (noise, a code), 0 for none.
    """
    return _started(Reader(net, shape, outputs, classes=classes, beside=beside), net)


def writer(net: NetConfig, code: int, shape: Shape, *, classes: int = 0) -> Writer:
    """Return a fresh writer: a decoder, a generator; `classes` as for `reader`."""
    return _started(Writer(net, code, shape, classes=classes), net)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels as rows of zeros and a one, -1 as zeros alone; (B,) → (B, classes)."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()


def joined(
    values: Tensor, labels: Tensor | None, beside: Tensor | None, *, classes: int, width: int
) -> Tensor:
    """Return (B, N) values with the label's one-hot and the vector beside them, where the net has room."""
    if bool(classes) != (labels is not None):
        asked = "wants labels: it is conditional" if classes else "takes no labels: it is not conditional"
        raise ValueError(f"this net {asked}")
    if bool(width) != (beside is not None):
        raise ValueError(f"this net {'wants a' if width else 'takes no'} vector beside the image")
    parts = [values]
    if labels is not None:
        parts.append(one_hot(labels, classes))
    if beside is not None:
        parts.append(beside)
    return torch.cat(parts, dim=1) if len(parts) > 1 else values


def _started(module: Net, net: NetConfig) -> Net:
    """Give a net the starting weights asked for.

    Orthogonal rows or columns, scaled so that every layer keeps the variance of a signal, of which a ReLU
    cuts half. Where a code enters a writer, biases spread the bends of the units over the codes: without
    them all bends would go through the code's mean.
    """
    init = net.init or ("normal" if net.kind == "conv" else "uniform")
    if init == "uniform":
        return module
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if init == "normal":
                nn.init.normal_(layer.weight, std=0.02)
            else:
                gain = 1.0 if layer is module.head else math.sqrt(2)
                nn.init.orthogonal_(
                    layer.weight, gain * math.sqrt(max(len(layer.weight) / layer.weight[0].numel(), 1))
                )
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    if init == "orthogonal" and isinstance(module, Writer) and first is not module.head:
        nn.init.uniform_(first.bias, -BENDS, BENDS)
    return module


def _dense(net: NetConfig, inputs: int, outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if net.normalise != "none":
        parts.append(nn.BatchNorm1d(outputs) if net.normalise == "batch" else nn.LayerNorm(outputs))
    parts.append(ACTIVATIONS[net.activation]())
    if dropout:
        parts.append(nn.Dropout(dropout))
    return nn.Sequential(*parts)


def _flat(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Flatten(), shape


def _unflat(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Unflatten(1, shape), shape


def _normalised(net: NetConfig, maps: int) -> list[nn.Module]:
    if net.normalise == "none":
        return []
    return [nn.BatchNorm2d(maps) if net.normalise == "batch" else nn.GroupNorm(1, maps)]


def _stages(net: NetConfig, shape: Shape) -> list[Shape]:
    """Return the image's shape and that after each convolution, which halves sides, odd ones downwards."""
    shapes = [shape]
    for layer in range(net.layers):
        _, height, width = shapes[-1]
        if min(height, width) < 8:
            break
        shapes.append((net.channels * 2**layer, height // 2, width // 2))
    return shapes


def _convolutions(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    """Return strided convolutions that end flat, and the shape of their last maps."""
    shapes = _stages(net, shape)
    parts: list[nn.Module] = []
    for (inputs, *_), (outputs, *_) in pairwise(shapes):
        parts += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)]
        parts += [*_normalised(net, outputs), ACTIVATIONS[net.activation]()]
    return nn.Sequential(*parts, nn.Flatten()), shapes[-1]


def _deconvolutions(net: NetConfig, shape: Shape) -> tuple[nn.Module, Shape]:
    """Return convolutions of enlarged maps, from flat ones to an image, and the shape of the first maps.

    Transposed convolutions would leave checkerboards (Odena et al. 2016).
    """
    shapes = _stages(net, shape)[::-1]
    parts: list[nn.Module] = [nn.Unflatten(1, shapes[0])]
    for (inputs, *_), (outputs, *large) in pairwise(shapes):
        parts += [*_normalised(net, inputs), ACTIVATIONS[net.activation]()]
        parts += [nn.Upsample(size=tuple(large)), nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)]
    return nn.Sequential(*parts), shapes[0]
