"""Data augmentation: a classifier of few labelled images, with and without samples of a conditional model.

The model learns from the labelled few alone: one that had seen the labels of all images would smuggle them
in. Beside it stands what costs nothing, moving each image by a pixel or two; a model earns its place by
adding to that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import image
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.core.random_state import own_randomness
from seqgen.image.applications.few_labels import Accuracies, labelled
from seqgen.image.data.dataset import ImageBatches, ImageData, Images, in_order
from seqgen.image.networks.networks import NetConfig, reader

NET = NetConfig(kind="conv", layers=3, channels=16, hidden=128, normalise="batch", init="orthogonal")
STEPS, BATCH, LR, WEIGHT_DECAY = 500, 64, 2e-3, 0.05
ROWS = 1000
"""Images classified at a time."""
VARIANTS = {
    "images": (False, False),
    "images and samples": (False, True),
    "moved images": (True, False),
    "moved images and samples": (True, True),
}
"""What the classifier learns from, and whether that is moved images and samples."""
OWN = ("conditional", "epochs", "patience", "report_every")
"""Settings of the model that are not the caller's."""


def augment(
    data: ImageData,
    model: str = "vae",
    counts: Sequence[int] = (100, 1000),
    *,
    draws: int = 5,
    steps: int = 3000,
    values: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[Accuracies]:
    """Yield the accuracy of a classifier for each number of labels and each thing that it learns from.

    Args:
        steps: of each training of the model on the labelled images.
        values: settings of the model by (dotted) name; it is conditional in any case.

    Raises:
        UserError: the data have no labels, or a class too few images; no such model or setting.
    """
    for name in OWN:
        if name in (values or {}):
            raise UserError(f"augment sets {name} itself; leave it out, and give the length by --steps")
    truth = data.train.labels.numpy()
    for count in counts:
        rng = np.random.default_rng([seed, count])
        found: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for draw in range(draws):
            few = data.train.rows(torch.from_numpy(labelled(truth, count, rng)))
            with own_randomness(seed + draw):
                made = fit(model, few, data.classes, steps=steps, values=values, seed=seed, device=device)
                for name, (moved, samples) in VARIANTS.items():
                    net = classifier(few, data.classes, made if samples else None, moved=moved, device=device)
                    found[name].append(accuracy(net, data.test, device=device))
            latest = ", ".join(f"{name} {shares[-1]:.1%}" for name, shares in found.items())
            notify(f"{count} labels, draw {draw + 1} of {draws}: {latest}")
        for name, accuracies in found.items():
            yield Accuracies(count, name, "conv net", accuracies)


def fit(
    model: str,
    images: Images,
    classes: int,
    *,
    steps: int,
    values: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Any:
    """Train an image model, conditional on the label, on a handful of images; no run folder, no reports."""
    cls = image.get(model)
    config = settings.override(cls.Config(), dict(values or {}) | {"conditional": True}).fitted(images)
    channels, height, width = images.pixels.shape[1:]
    made = cls(config, shape=(channels, height, width), classes=classes).to(device)
    made.configure()
    batches = ImageBatches(images, config.read_size, seed=seed, device=device)
    for step in range(steps):
        made.step(next(batches).to(device), step / steps)
    return made.eval()


def classifier(
    images: Images,
    classes: int,
    model: Any = None,
    *,
    moved: bool = False,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Train a small convolutional classifier on labelled images, and on as many fresh samples of a model.

    Draws on torch's global random state; every variant makes as many updates of as many real images.
    """
    channels, height, width = images.pixels.shape[1:]
    net = reader(NET, (channels, height, width), classes).to(device).train()
    optimizer = optim.adamw(net, lr=LR, weight_decay=WEIGHT_DECAY)
    kinds = images.labels.unique().to(device)
    for step in range(STEPS):
        inputs, labels = images.batch(torch.randint(len(images), (BATCH,))).to(device)
        if model is not None:
            asked = kinds[torch.randint(len(kinds), (BATCH,))]
            inputs, labels = torch.cat([inputs, model.sample(BATCH, asked)]), torch.cat([labels, asked])
        optim.scale_lr(optimizer, optim.warmup_cosine(step / STEPS, warmup=0.1))
        loss = F.cross_entropy(net(shifted(inputs) if moved else inputs), labels)
        optim.update({optimizer: loss})
    return net.eval()


def shifted(images: Tensor) -> Tensor:
    """Move each image by up to one pixel in 14, one at least, down and right; black comes in."""
    n, _, height, width = images.shape
    most = max(1, max(height, width) // 14)
    padded = F.pad(images, [most] * 4)
    down, right = torch.randint(2 * most + 1, (2, n, 1), device=images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = right + torch.arange(width, device=images.device)
    each = torch.arange(n, device=images.device)
    return padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, *, device: torch.device | str = "cpu") -> float:
    """Return the share of images classified rightly."""
    right = [(net(batch.images).argmax(dim=1) == batch.labels) for batch in in_order(images, ROWS, device)]
    return float(torch.cat(right).float().mean())
