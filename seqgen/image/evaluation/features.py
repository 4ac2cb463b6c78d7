"""Feature vectors, by which sets of images are compared: the last hidden layer of a classifier of the data.

The classifier is trained on the training split and kept in the cache folder, some for each data set, which
differ in their seed; distances in its space compare models of the same data only. Images without labels are
compared by their principal components instead, and any images by a TorchScript network of the user, such as
Inception.
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
from seqgen.core.errors import UserError, is_out_of_memory
from seqgen.core.random_state import own_randomness
from seqgen.image.data.dataset import Batch, ImageBatches, ImageData, Images, in_order
from seqgen.image.networks.networks import ImageEncoder, NetConfig, Shape, build_encoder

NET = NetConfig(kind="conv", layers=3, channels=32, hidden=128, normalise="batch", init="orthogonal")
TOTAL_IMAGES, MAX_EPOCHS = 250_000, 40
"""Images of a training, and a bound of its epochs."""
BATCH, LR, WEIGHT_DECAY = 128, 3e-3, 0.05
CHUNK = 1000
"""Images whose features are computed at a time."""
COMPONENTS = 64
"""Principal components of images without labels."""
WEIGHTS, METRICS = "model.safetensors", "metrics.json"


@dataclass(frozen=True)
class Features:
    """A function from images to feature vectors."""

    extract: Callable[[Tensor], Tensor]
    """(B, C, H, W) in [0, 1] → (B, D)"""
    name: str
    """what they are, for a report"""
    accuracy: float | None = None
    """of the classifier on test images; None where the features are not a classifier's"""

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Return the features of images on the CPU; (N, C, H, W) → (N, D)."""
        return torch.cat([self.extract(part).float().cpu() for part in images.split(CHUNK)])


def choose(
    data: ImageData,
    file: Path | None = None,
    *,
    classifiers: int = 1,
    trust: bool = False,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> list[Features]:
    """Return the features of a TorchScript file, else those of classifiers, else principal components.

    Args:
        classifiers: how many, each trained with another seed: metrics in the features of one vary with it.
        trust: whether the file may be loaded, which is a program.
    """
    if file is not None:
        return [from_file(file, trust=trust, device=device)]
    if data.classes < 2 or int((data.train.labels >= 0).sum()) < 2:
        return [principal(data.train, device=device)]
    return [classifier(data, seed=seed, device=device, notify=notify) for seed in range(classifiers)]


def classifier(
    data: ImageData,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> Features:
    """Return the last hidden layer of a classifier of the data, from the cache or newly trained."""

    def fill(folder: Path) -> None:
        which = f"classifier {seed + 1}" if seed else "a classifier"
        notify(f"training {which} of '{data.name}' for its features, once for these data")
        trained = train(data, seed=seed, device=device)
        safetensors.torch.save_file(
            {name: weight.cpu().contiguous() for name, weight in trained.state_dict().items()},
            folder / WEIGHTS,
        )
        (folder / METRICS).write_text(json.dumps({"accuracy": accuracy(trained, data.test, device=device)}))

    place = cache.entry("image-classifier", _key(data, seed), fill)
    net = _net(data.shape, data.classes)
    net.load_state_dict(safetensors.torch.load_file(place / WEIGHTS))
    net = net.to(device).eval()
    test_accuracy = json.loads((place / METRICS).read_text())["accuracy"]
    if test_accuracy is None or math.isnan(test_accuracy):
        test_accuracy, known = None, "no test image has a label"
    else:
        known = f"accuracy {test_accuracy:.2%}"
    name = f"last hidden layer, {NET.hidden} units, of a classifier of the data ({known})"
    return Features(lambda images: net.features(images.to(device)), name, test_accuracy)


def train(data: ImageData, *, seed: int = 0, device: torch.device | str = "cpu") -> nn.Module:
    """Train a classifier of the labelled training images: AdamW, a one-cycle learning rate, shifts."""
    labelled = data.train.rows(data.train.labels >= 0)
    with own_randomness(seed):
        net = _net(data.shape, data.classes).to(device).train()
        optimizer = optim.adamw(net, lr=LR, weight_decay=WEIGHT_DECAY)
        batches = ImageBatches(labelled, BATCH, seed=seed, binarise=data.binarise == "dynamic", device=device)
        epochs = min(math.ceil(TOTAL_IMAGES / len(labelled)), MAX_EPOCHS)
        steps = epochs * len(batches)
        for step in range(steps):
            batch = next(batches).to(device)
            optim.scale_lr(optimizer, optim.warmup_cosine(step / steps, warmup=0.2))
            loss = F.cross_entropy(net(_shifted(batch.images)), batch.labels)
            optim.update({optimizer: loss})
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, *, device: torch.device | str = "cpu") -> float | None:
    """Return a classifier's accuracy on the labelled images; None where none is labelled."""
    labelled = images.rows(images.labels >= 0)
    if not len(labelled):
        return None

    def correct(batch: Batch) -> int:
        return int((net(batch.images).argmax(dim=1) == batch.labels).sum())

    return sum(correct(batch) for batch in in_order(labelled, CHUNK, device)) / len(labelled)


def principal(images: Images, *, device: torch.device | str = "cpu") -> Features:
    """Return the leading principal components of training images, without scaling their variances."""
    flat = images.pixels.flatten(1).float().div_(255)
    mean = flat.mean(dim=0)
    _, axes = torch.linalg.eigh(torch.cov(flat.T))
    kept, mean = axes[:, -COMPONENTS:].to(device), mean.to(device)
    return Features(
        lambda images: (images.to(device).flatten(1) - mean) @ kept,
        f"{kept.shape[1]} principal components of the training images",
    )


def from_file(path: Path, *, trust: bool, device: torch.device | str = "cpu") -> Features:
    """Return the outputs of a TorchScript network: bytes (B, 3, H, W) of colour images → (B, D).

    Grey images are repeated in three channels; the network must resize images itself. Where its forward takes
    `return_features`, as NVIDIA's Inception does, it is set.

    Raises:
        UserError: the file is missing, not a TorchScript network, or not trusted.
    """
    if not path.is_file():
        raise UserError(f"no file '{path}'; give a TorchScript network that maps images to vectors")
    if not trust:  # TorchScript can read and write files: torch.from_file maps any, shared
        raise UserError(
            f"'{path}' is a program, which can read and write files; if you trust who made it, give the same "
            "command with --trust"
        )
    try:
        net = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise UserError(
            f"'{path}' is not a TorchScript network; write one by torch.jit.script(net).save(FILE)"
        ) from error
    takes_option = any(argument.name == "return_features" for argument in net.forward.schema.arguments)

    def extract(images: Tensor) -> Tensor:
        colour = images.to(device).expand(-1, 3, -1, -1)
        pixels = (colour * 255).round().byte()
        try:
            vectors = net(pixels, return_features=True) if takes_option else net(pixels)
        except RuntimeError as error:  # whatever the program raises
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"'{path}' does not take bytes of shape {tuple(pixels.shape)} ({reason}); give a network of "
                "such images, or scale them by training with --size"
            ) from error
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != len(images):
            found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise UserError(f"'{path}' returns {found} for {len(images)} images, not a vector each")
        if not vectors.isfinite().all():
            raise UserError(f"'{path}' returns numbers that are not finite; give another network")
        return vectors

    return Features(extract, f"vectors of {path.name}")


def _net(shape: Shape, classes: int) -> ImageEncoder:
    return build_encoder(NET, shape, classes)


def _shifted(images: Tensor) -> Tensor:
    """Shift a batch by at most one pixel in 14 of each side, all images alike; the border is black."""
    height, width = images.shape[-2:]
    high, wide = height // 14, width // 14
    if not high and not wide:
        return images
    down, right = (int(torch.randint(-most, most + 1, ())) for most in (high, wide))
    padded = F.pad(images, [wide, wide, high, high])
    return padded[..., high + down : high + down + height, wide + right : wide + right + width]


def _key(data: ImageData, seed: int) -> str:
    """Return the cache key of a classifier, by everything that it depends on: images, settings and seed."""
    recipe = repr((NET, TOTAL_IMAGES, MAX_EPOCHS, BATCH, LR, WEIGHT_DECAY, data.classes))
    recipe += f" seed {seed}" if seed else ""  # the first one's is older than the others
    digest = hashlib.sha256(recipe.encode())
    for part in (data.train.pixels, data.train.labels, data.test.pixels, data.test.labels):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()[:32]
