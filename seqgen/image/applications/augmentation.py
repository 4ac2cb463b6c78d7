"""Data augmentation: a classifier of few labelled images, with and without samples of a conditional model.

The model is trained on the labelled images alone: one that was trained with the labels of all images would
leak them. The baseline is to shift each image by a pixel or two; samples are worth their cost where they add
to that.
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
from seqgen.image.applications.few_labels import Accuracies, check_counts, labelled, labelled_rows
from seqgen.image.data.dataset import ImageBatches, ImageData, Images, in_order
from seqgen.image.networks.networks import NetConfig, build_encoder

NET = NetConfig(kind="conv", layers=3, channels=16, hidden=128, normalise="batch", init="orthogonal")
STEPS, BATCH, LR, WEIGHT_DECAY = 500, 64, 2e-3, 0.05
CHUNK = 1000
"""Images classified at a time."""
LEAST_SHIFTED = 4
"""Pixels of a side along which images are shifted, at least."""
VARIANTS = {
    "images": (False, False),
    "images and samples": (False, True),
    "shifted images": (True, False),
    "shifted images and samples": (True, True),
}
"""Training sets of the classifier: whether images are shifted, and whether there are samples."""
FIXED_SETTINGS = ("conditional", "epochs", "patience", "report_every")
"""Settings of the model that `augment` chooses itself."""


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
    """Yield the accuracy of a classifier for each number of labels and each training set of `VARIANTS`.

    Args:
        steps: length of each training of the model.
        values: settings of the model by (dotted) name; it is conditional in any case.

    Raises:
        UserError: the data have no labels, in training or in the test, or a class too few images; no such
            model or setting.
    """
    for name in FIXED_SETTINGS:
        if name in (values or {}):
            raise UserError(f"augment sets {name} itself; leave it out, and give the length by --steps")
    truth, test = data.train.labels.numpy(), labelled_rows(data)
    check_counts(truth, counts)
    for count in counts:
        rng = np.random.default_rng([seed, count])
        accuracies: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for draw in range(draws):
            few_images = data.train.rows(torch.from_numpy(labelled(truth, count, rng)))
            with own_randomness(seed + draw):
                generator = fit(
                    model, few_images, data.classes, steps=steps, values=values, seed=seed, device=device
                )
                for name, (shift, samples) in VARIANTS.items():
                    net = classifier(
                        few_images, data.classes, generator if samples else None, shift=shift, device=device
                    )
                    accuracies[name].append(accuracy(net, test, device=device))
            latest = ", ".join(f"{name} {draws_so_far[-1]:.1%}" for name, draws_so_far in accuracies.items())
            notify(f"{count} labels, draw {draw + 1} of {draws}: {latest}")
        for name, of_draws in accuracies.items():
            yield Accuracies(count, name, "conv net", of_draws)


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
    """Train an image model, conditional on the label, without a run folder and reports."""
    entry = image.get(model)
    channels, height, width = images.pixels.shape[1:]
    config = settings.override(entry.config(), dict(values or {}) | {"conditional": True})
    config = config.sized((channels, height, width)).fitted(images)
    generator = entry.cls(config, shape=(channels, height, width), classes=classes).to(device)
    generator.configure()
    batches = ImageBatches(images, config.read_size, seed=seed, device=device)
    for step in range(steps):
        generator.step(next(batches).to(device), step / steps)
    return generator.eval()


def classifier(
    images: Images,
    classes: int,
    model: Any = None,
    *,
    shift: bool = False,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Train a small convolutional classifier on labelled images, and on as many new samples of a model.

    It uses torch's global random state. The updates and the real images of each are as many with a model as
    without.
    """
    channels, height, width = images.pixels.shape[1:]
    net = build_encoder(NET, (channels, height, width), classes).to(device).train()
    optimizer = optim.adamw(net, lr=LR, weight_decay=WEIGHT_DECAY)
    labels_present = images.labels.unique().to(device)
    for step in range(STEPS):
        inputs, labels = images.batch(torch.randint(len(images), (BATCH,))).to(device)
        if model is not None:
            sampled_labels = labels_present[torch.randint(len(labels_present), (BATCH,))]
            inputs = torch.cat([inputs, model.sample(BATCH, sampled_labels)])
            labels = torch.cat([labels, sampled_labels])
        optim.scale_lr(optimizer, optim.warmup_cosine(step / STEPS, warmup=0.1))
        loss = F.cross_entropy(net(shifted(inputs) if shift else inputs), labels)
        optim.update({optimizer: loss})
    return net.eval()


def shifted(images: Tensor) -> Tensor:
    """Shift each image in both directions by at most one pixel in 14, or by one; the border is black.

    A side of fewer than four pixels is not shifted along: little would be left of it.
    """
    n, _, height, width = images.shape
    high, wide = (max(1, side // 14) if side >= LEAST_SHIFTED else 0 for side in (height, width))
    padded = F.pad(images, [wide, wide, high, high])
    down, right = (torch.randint(2 * most + 1, (n, 1), device=images.device) for most in (high, wide))
    rows = down + torch.arange(height, device=images.device)
    columns = right + torch.arange(width, device=images.device)
    each = torch.arange(n, device=images.device)
    return padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, *, device: torch.device | str = "cpu") -> float:
    """Return a classifier's accuracy."""
    correct = [(net(batch.images).argmax(dim=1) == batch.labels) for batch in in_order(images, CHUNK, device)]
    return float(torch.cat(correct).float().mean())
