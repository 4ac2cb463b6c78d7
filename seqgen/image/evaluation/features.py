"""Images as vectors, to compare sets of images by: the last hidden layer of a classifier of the data.

The package trains the classifier itself on the training split and keeps it in the cache folder, one for each
data; distances in its space compare models of the same data only, and say so with its accuracy. Where images
have no labels their principal components take its place; any TorchScript network may (Inception).
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import cache, optim
from seqgen.core.errors import UserError
from seqgen.core.random_state import own_randomness
from seqgen.image.data.dataset import Batch, ImageBatches, ImageData, Images, in_order
from seqgen.image.networks.networks import NetConfig, Reader, Shape, reader

NET = NetConfig(kind="conv", layers=3, channels=32, hidden=128, normalise="batch", init="orthogonal")
READ, MOST_EPOCHS = 250_000, 40
"""Images that training reads, and the epochs that it does not exceed to reach them."""
BATCH, LR, WEIGHT_DECAY = 128, 3e-3, 0.05
ROWS = 1000
"""Images put into vectors at a time."""
COMPONENTS = 64
"""Principal components of images without labels."""
WEIGHTS, FIGURES = "model.safetensors", "figures.json"


@dataclass(frozen=True)
class Features:
    """How images become vectors."""

    extract: Callable[[Tensor], Tensor]
    """(B, C, H, W) in [0, 1] → (B, D)"""
    name: str
    """what the vectors are, for a report"""
    accuracy: float | None = None
    """share of test images that the classifier gets right; None where the vectors are not a classifier's"""

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Return the vectors of images on the CPU; (N, C, H, W) → (N, D)."""
        return torch.cat([self.extract(part).float().cpu() for part in images.split(ROWS)])


def choose(
    data: ImageData,
    file: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> Features:
    """Return the features of a TorchScript file, else those of a classifier of the data, else components."""
    if file is not None:
        return from_file(file, device=device)
    if data.classes < 2 or not (data.train.labels >= 0).any():
        return principal(data.train, device=device)
    return classifier(data, device=device, notify=notify)


def classifier(
    data: ImageData,
    *,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> Features:
    """Return the last hidden layer of a classifier of the data, from the cache or trained now."""

    def fill(folder: Path) -> None:
        notify(f"training a classifier of '{data.name}' for its features, once for these data")
        trained = train(data, device=device)
        safetensors.torch.save_file(
            {name: weight.cpu().contiguous() for name, weight in trained.state_dict().items()},
            folder / WEIGHTS,
        )
        (folder / FIGURES).write_text(json.dumps({"accuracy": accuracy(trained, data.test, device=device)}))

    place = cache.entry("image-classifier", _key(data), fill)
    net = _net(data.shape, data.classes)
    net.load_state_dict(safetensors.torch.load_file(place / WEIGHTS))
    net = net.to(device).eval()
    right = json.loads((place / FIGURES).read_text())["accuracy"]
    name = f"last hidden layer, {NET.hidden} units, of a classifier of the data ({right:.2%} right)"
    return Features(lambda images: net.features(images.to(device)), name, right)


def train(data: ImageData, *, seed: int = 0, device: torch.device | str = "cpu") -> nn.Module:
    """Train a classifier of the labelled training images: a one-cycle of AdamW on shifted images."""
    labelled = data.train.rows(data.train.labels >= 0)
    with own_randomness(seed):
        net = _net(data.shape, data.classes).to(device).train()
        optimizer = optim.adamw(net, lr=LR, weight_decay=WEIGHT_DECAY)
        batches = ImageBatches(labelled, BATCH, seed=seed, binarise=data.binarise == "dynamic", device=device)
        epochs = min(math.ceil(READ / len(labelled)), MOST_EPOCHS)
        steps = epochs * len(batches)
        for step in range(steps):
            batch = next(batches).to(device)
            optim.scale_lr(optimizer, optim.warmup_cosine(step / steps, warmup=0.2))
            loss = F.cross_entropy(net(_shifted(batch.images)), batch.labels)
            optim.update({optimizer: loss})
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, *, device: torch.device | str = "cpu") -> float:
    """Return the share of labelled images that a classifier gets right; nan where none is labelled."""
    labelled = images.rows(images.labels >= 0)
    if not len(labelled):
        return math.nan

    def right(batch: Batch) -> int:
        return int((net(batch.images).argmax(dim=1) == batch.labels).sum())

    return sum(right(batch) for batch in in_order(labelled, ROWS, device)) / len(labelled)


def principal(images: Images, *, device: torch.device | str = "cpu") -> Features:
    """Return the leading principal components of training images, the variance of each left as it is."""
    flat = images.pixels.flatten(1).float().div_(255)
    mean = flat.mean(dim=0)
    _, axes = torch.linalg.eigh(torch.cov(flat.T))
    kept, mean = axes[:, -COMPONENTS:].to(device), mean.to(device)
    return Features(
        lambda images: (images.to(device).flatten(1) - mean) @ kept,
        f"{kept.shape[1]} principal components of the training images",
    )


def from_file(path: Path, *, device: torch.device | str = "cpu") -> Features:
    """Return the vectors of a TorchScript network: bytes (B, 3, H, W) of colour images → (B, D).

    Grey images are repeated in three channels; resizing is the network's own. Where its forward takes
    `return_features`, as NVIDIA's Inception does, it is asked for them.

    Raises:
        UserError: the file is missing or no TorchScript network.
    """
    if not path.is_file():
        raise UserError(f"no file '{path}'; give a TorchScript network that maps images to vectors")
    try:
        net = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise UserError(
            f"'{path}' is no TorchScript network; write one by torch.jit.script(net).save(FILE)"
        ) from error
    asked = any(argument.name == "return_features" for argument in net.forward.schema.arguments)

    def extract(images: Tensor) -> Tensor:
        colour = images.to(device).expand(-1, 3, -1, -1)
        pixels = (colour * 255).round().byte()
        vectors = net(pixels, return_features=True) if asked else net(pixels)
        if vectors.shape != (len(images), vectors.shape[-1]):
            raise UserError(
                f"'{path}' gives {tuple(vectors.shape)} of {len(images)} images, not a vector each"
            )
        return vectors

    return Features(extract, f"vectors of {path.name}")


def _net(shape: Shape, classes: int) -> Reader:
    return reader(NET, shape, classes)


def _shifted(images: Tensor) -> Tensor:
    """Move each batch by at most one pixel in 14, the same for all its images; what comes in is black."""
    most = images.shape[-1] // 14
    if not most:
        return images
    down, right = torch.randint(-most, most + 1, (2,)).tolist()
    padded = F.pad(images, [most] * 4)
    height, width = images.shape[-2:]
    return padded[..., most + down : most + down + height, most + right : most + right + width]


def _key(data: ImageData) -> str:
    """Name a classifier by all that it depends on: the images it learns from and the recipe."""
    recipe = repr((NET, READ, MOST_EPOCHS, BATCH, LR, WEIGHT_DECAY, data.classes))
    digest = hashlib.sha256(recipe.encode())
    for part in (data.train.pixels, data.train.labels, data.test.pixels, data.test.labels):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()[:32]
