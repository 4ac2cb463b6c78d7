"""Anomaly detection: how strange an image is to a model, and how well that tells strange images from others.

A model that has never seen a digit should find it stranger than the nine it knows. `left_out` measures that
for every label in turn, beside two scores that need no training: what the principal components of the
training images leave over, and the distance to the nearest training image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError, did_you_mean
from seqgen.image.data import files
from seqgen.image.data.dataset import Images, in_order, open_images
from seqgen.image.runs import setup
from seqgen.image.runs.load import TrainedImages, load
from seqgen.metrics import precision_recall
from seqgen.metrics.auroc import Auroc, auroc
from seqgen.training.data_config import slug
from seqgen.training.job import ROOT

ROWS = 500
"""Images scored at a time."""
COMPONENTS = 32
"""Principal components that stand beside a model whose code has no width."""


def _split(scores: np.ndarray, strange: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split scores (N,) by a mask of the anomalous images; → normal, anomalous."""
    return scores[~strange], scores[strange]


@dataclass(frozen=True)
class Scored:
    """The scores of some images."""

    names: list[str]
    """the path of each picture, or its number among the test images"""
    labels: list[str]
    """the label, or the subfolder; empty where there is none"""
    scores: np.ndarray
    """(N,), higher is stranger: the model's own, nats or what its `score` says"""
    strange: str | None
    """the label that counts as strange, where one is known"""
    auroc: Auroc | None
    """how well the scores tell it from the rest"""


def score(trained: TrainedImages, folder: Path | None = None, strange: str | None = None) -> Scored:
    """Score the pictures of a folder, or the test images of the run.

    Args:
        strange: the label or subfolder whose images count as strange; the label that the run was trained
            without where not given.

    Raises:
        UserError: no pictures there, pictures that the model does not fit, or no image of that label.
    """
    names, labels, images = _test_images(trained) if folder is None else _pictures(trained, folder)
    left = trained.run.config["without"]
    known = strange or (None if left is None else trained.names[left])
    if strange is not None and strange not in labels:
        raise UserError(f"no image has the label '{strange}'" + did_you_mean(strange, sorted(set(labels))))
    values = scores(trained, images)
    area = auroc(*_split(values, np.array(labels) == known)) if known in labels else None
    return Scored(names, labels, values, known, area)


@torch.no_grad()
def scores(trained: TrainedImages, images: Images) -> np.ndarray:
    """Return the model's score of each image, higher is stranger; (N,). UserError where it has none.

    A conditional model is not told the label, which would answer the question: the score is that under the
    label, of those it has learned, that explains the image best.
    """
    if not hasattr(trained.model, "score"):
        raise UserError(
            f"run '{trained.run.path}' ({trained.run.config['algorithm']}) does not score images; take a vae"
        )
    kinds = trained.learned if trained.model.config.conditional else [-1]
    found = []
    for batch in in_order(images, ROWS, trained.device):
        guesses = [trained.model.score(batch.images, torch.full_like(batch.labels, kind)) for kind in kinds]
        found.append(torch.stack(guesses).amin(dim=0).cpu())
    return torch.cat(found).numpy()


def _test_images(trained: TrainedImages) -> tuple[list[str], list[str], Images]:
    images = trained.data.test
    labels = ["" if label < 0 else trained.names[label] for label in images.labels.tolist()]
    return [str(i) for i in range(len(images))], labels, images


def _pictures(trained: TrainedImages, folder: Path) -> tuple[list[str], list[str], Images]:
    paths = files.pictures_in(folder)
    if not paths:
        raise UserError(f"no pictures in '{folder}'; give a folder of {', '.join(sorted(files.PICTURES))}")
    pixels = torch.from_numpy(files.stack((str(path), path.read_bytes()) for path in paths))
    channels, *size = trained.run.config["shape"]
    found, *have = pixels.shape[1:]
    if have != size or found > channels:
        kinds = {1: "grey", 3: "colour"}
        raise UserError(
            f"the pictures in '{folder}' are {kinds[found]} of {have[1]}×{have[0]} pixels, and run "
            f"'{trained.run.path}' knows {kinds[channels]} ones of {size[1]}×{size[0]}"
        )
    labels = ["/".join(path.relative_to(folder).parts[:-1]) for path in paths]
    images = Images(pixels.expand(-1, channels, -1, -1), torch.full((len(paths),), -1))
    return [str(path) for path in paths], labels, images


@dataclass(frozen=True)
class LeftOut:
    """How well a label was detected by a model that had never seen it, over the test images."""

    label: str
    model: Auroc
    principal: Auroc
    """of the squared distance to as many principal components as the code has units"""
    nearest: Auroc
    """of the distance to the nearest training image"""


def left_out(
    model: str = "vae",
    data: str = "digits",
    *,
    folder: Path | None = None,
    device_name: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Iterator[LeftOut]:
    """Train a model without each label in turn, and yield how well it detects that label among test images.

    Labels that are not among both the training and the test images are passed over. The runs go to
    `folder`/without-LABEL, `runs/left-out-MODEL-DATA` where not given; finished ones are read back. The other
    options are those of `seqgen.image.runs.setup.train_job`.
    """
    place = folder or ROOT / f"left-out-{model}-{slug(data)}"
    opened = open_images(data, seed=options.get("seed", 0))
    train, test = (set(split.labels.unique().tolist()) - {-1} for split in (opened.train, opened.test))
    if len(train & test) < 2:
        raise UserError(f"'{data}' has fewer than two labels; there is none to leave out")
    for label in sorted(train & test):
        job = setup.train_job(
            model,
            data,
            path=place / f"without-{label}",
            without=label,
            device_name=device_name,
            **options,
        )
        progress = job.train()
        row = compare(load(job.run, device_name))
        notify(
            f"without {row.label}: AUROC {row.model.value:.3f}, {progress.seconds:.0f} s of training, "
            f"run: {job.run.path}"
        )
        yield row


def compare(trained: TrainedImages) -> LeftOut:
    """Return how well a run detects the label that it was trained without, beside what needs no training."""
    label = trained.run.config["without"]
    test = trained.data.test
    strange = (test.labels == label).numpy()
    known, seen = (split.batch(slice(None)).images.flatten(1) for split in (trained.data.train, test))
    width = min(getattr(trained.model.config, "code", COMPONENTS), known.shape[1] - 1)
    return LeftOut(
        trained.names[label],
        auroc(*_split(scores(trained, test), strange)),
        auroc(*_split(principal_error(known, seen, width).numpy(), strange)),
        auroc(*_split(precision_recall.nearest(seen, known)[0].numpy(), strange)),
    )


def table(rows: Sequence[LeftOut]) -> list[str]:
    """Lay the areas out as lines, a label each with the model's 95 % interval, and their mean."""
    cells: list[tuple[str, ...]] = [("label", "model", "95 %", "principal", "nearest")]
    for row in rows:
        interval = f"{row.model.interval[0]:.3f} to {row.model.interval[1]:.3f}"
        areas = [f"{area.value:.3f}" for area in (row.model, row.principal, row.nearest)]
        cells.append((str(row.label), areas[0], interval, *areas[1:]))
    means = [f"{value:.3f}" for value in mean(rows).values()]
    cells.append(("mean", means[0], "", *means[1:]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def mean(rows: Sequence[LeftOut]) -> dict[str, float]:
    """Return the mean areas over labels: `model`, `principal`, `nearest`."""
    names = ("model", "principal", "nearest")
    return {name: float(np.mean([getattr(row, name).value for row in rows])) for name in names}


def principal_error(train: Tensor, images: Tensor, components: int) -> Tensor:
    """Return the squared distance of images to the principal plane of the training images; (N, D) → (N,)."""
    mean = train.mean(dim=0)
    centred = train - mean
    _, axes = torch.linalg.eigh(centred.T @ centred)
    known = axes[:, -components:]
    rest = images - mean
    return (rest.square().sum(dim=1) - (rest @ known).square().sum(dim=1)).clamp(min=0)
