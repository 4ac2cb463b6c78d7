"""Anomaly detection: a model's anomaly score of each image, and its area under the ROC curve.

A model that was trained without a digit should give it higher scores than the nine others. `left_out`
measures that for each label, beside two scores that need no training: the reconstruction error of the
principal components of the training images, and the distance to the nearest training image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError, did_you_mean
from seqgen.image.data.dataset import Images, in_order, open_images
from seqgen.image.data.folders import PICTURES, pictures_in
from seqgen.image.data.pictures import ReadOptions, decode_pictures
from seqgen.image.runs import setup
from seqgen.image.runs.load import OPTIONS, TrainedImages, load
from seqgen.metrics import precision_recall
from seqgen.metrics.auroc import Auroc, auroc
from seqgen.training.data_config import short_name
from seqgen.training.job import ROOT

CHUNK = 500
"""Images scored at a time."""
COMPONENTS = 32
"""Principal components compared with a model without the setting `latent_dim`."""


def area(scores: np.ndarray, is_anomalous: np.ndarray) -> Auroc:
    """Return how often an anomalous image scores above a normal one; scores (N,), is_anomalous (N,) bool."""
    return auroc(scores[~is_anomalous], scores[is_anomalous])


@dataclass(frozen=True)
class AnomalyScores:
    """The anomaly scores of some images."""

    names: list[str]
    """the path of each picture, or its number among the test images"""
    labels: list[str]
    """the label, or the subfolder; empty where there is none"""
    scores: np.ndarray
    """(N,), higher is more anomalous; each model says what its `score` is"""
    anomalous: str | None
    """the anomalous label, where one is known"""
    auroc: Auroc | None
    """how well the scores separate it from the rest"""


def score(trained: TrainedImages, folder: Path | None = None, anomalous: str | None = None) -> AnomalyScores:
    """Score the pictures of a folder, or the test images of the run.

    Args:
        anomalous: the label or subfolder of the anomalous images; the label that the run was trained without
            where not given.

    Raises:
        UserError: no pictures there, pictures that the model does not fit, or no image of that label.
    """
    names, labels, images = _test_images(trained) if folder is None else _read_pictures(trained, folder)
    left_out = trained.run.config["without"]
    label = anomalous or (None if left_out is None else trained.names[left_out])
    if anomalous is not None and anomalous not in labels:
        raise UserError(
            f"no image has the label '{anomalous}'" + did_you_mean(anomalous, sorted(set(labels)))
        )
    values = scores(trained, images)
    auroc_of_label = area(values, np.array(labels) == label) if label in labels else None
    return AnomalyScores(names, labels, values, label, auroc_of_label)


@torch.no_grad()
def scores(trained: TrainedImages, images: Images) -> np.ndarray:
    """Return the model's anomaly score of each image; (N,). UserError where it has none.

    A conditional model does not get the true label, which would reveal the answer: the score of an image is
    the lowest one over the labels of the training images.
    """
    if not hasattr(trained.model, "score"):
        raise UserError(
            f"run '{trained.run.path}' ({trained.run.config['algorithm']}) does not score images; take a vae"
        )
    labels = trained.training_labels if trained.model.config.conditional else [-1]
    lowest = []
    for batch in in_order(images, CHUNK, trained.device):
        by_label = [
            trained.model.score(batch.images, torch.full_like(batch.labels, label)) for label in labels
        ]
        lowest.append(torch.stack(by_label).amin(dim=0).cpu())
    return torch.cat(lowest).numpy()


def _test_images(trained: TrainedImages) -> tuple[list[str], list[str], Images]:
    images = trained.data.test
    labels = ["" if label < 0 else trained.names[label] for label in images.labels.tolist()]
    return [str(i) for i in range(len(images))], labels, images


def _read_pictures(trained: TrainedImages, folder: Path) -> tuple[list[str], list[str], Images]:
    paths = pictures_in(folder)
    if not paths:
        raise UserError(f"no pictures in '{folder}'; give a folder of {', '.join(sorted(PICTURES))}")
    encoded = ((str(path), path.read_bytes()) for path in paths)
    pixels = torch.from_numpy(decode_pictures(encoded, trained.options))
    channels, *size = trained.run.config["shape"]
    given_channels, *given_size = pixels.shape[1:]
    if given_size != size or given_channels > channels:
        kinds = {1: "grey", 3: "colour"}
        raise UserError(
            f"the pictures in '{folder}' are {kinds[given_channels]} of {given_size[1]}×{given_size[0]} "
            f"pixels, and run '{trained.run.path}' was trained on "
            f"{kinds[channels]} ones of {size[1]}×{size[0]}"
        )
    labels = ["/".join(path.relative_to(folder).parts[:-1]) for path in paths]
    images = Images(pixels.expand(-1, channels, -1, -1), torch.full((len(paths),), -1))
    return [str(path) for path in paths], labels, images


@dataclass(frozen=True)
class LeftOut:
    """How well a label was detected by a model that was trained without it, over the test images."""

    label: str
    model: Auroc
    pca: Auroc
    """of the squared reconstruction error of as many principal components as there are latent dimensions"""
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

    Labels without training images or without test images are skipped. The runs go to
    `folder`/without-LABEL, `runs/left-out-MODEL-DATA` where not given; finished ones are read back. The other
    options are those of `seqgen.image.runs.setup.train_job`.
    """
    root = folder or ROOT / f"left-out-{model}-{short_name(data)}"
    read = ReadOptions(**{name: options[name] for name in OPTIONS if name in options})
    opened = open_images(data, seed=options.get("seed", 0), options=read)
    train, test = (set(split.labels.unique().tolist()) - {-1} for split in (opened.train, opened.test))
    if len(train & test) < 2:
        raise UserError(f"'{data}' has fewer than two labels; there is none to leave out")
    for label in sorted(train & test):
        job = setup.train_job(
            model,
            data,
            path=root / f"without-{label}",
            without=opened.names[label],
            device_name=device_name,
            **options,
        )
        progress = job.train()
        row = compare(load(job.run, device_name, given=model))
        notify(
            f"without {row.label}: AUROC {row.model.value:.3f}, {progress.seconds:.0f} s of training, "
            f"run: {job.run.path}"
        )
        yield row


def compare(trained: TrainedImages) -> LeftOut:
    """Return how well a run detects the label that it was trained without, beside the baselines."""
    label = trained.run.config["without"]
    test = trained.data.test
    anomalous = (test.labels == label).numpy()
    train_images, test_images = (
        split.batch(slice(None)).images.flatten(1) for split in (trained.data.train, test)
    )
    components = min(getattr(trained.model.config, "latent_dim", COMPONENTS), train_images.shape[1] - 1)
    return LeftOut(
        trained.names[label],
        area(scores(trained, test), anomalous),
        area(pca_error(train_images, test_images, components).numpy(), anomalous),
        area(precision_recall.nearest(test_images, train_images)[0].numpy(), anomalous),
    )


def table(rows: Sequence[LeftOut]) -> list[str]:
    """Lay the areas out as lines, a label each with the model's 95 % interval, and their mean."""
    cells: list[tuple[str, ...]] = [("label", "model", "95 %", "pca", "nearest")]
    for row in rows:
        interval = f"{row.model.interval[0]:.3f} to {row.model.interval[1]:.3f}"
        areas = [f"{each.value:.3f}" for each in (row.model, row.pca, row.nearest)]
        cells.append((str(row.label), areas[0], interval, *areas[1:]))
    means = [f"{value:.3f}" for value in mean(rows).values()]
    cells.append(("mean", means[0], "", *means[1:]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def mean(rows: Sequence[LeftOut]) -> dict[str, float]:
    """Return the mean areas over labels: `model`, `pca`, `nearest`."""
    names = ("model", "pca", "nearest")
    return {name: float(np.mean([getattr(row, name).value for row in rows])) for name in names}


def pca_error(train: Tensor, images: Tensor, components: int) -> Tensor:
    """Return the squared error of a reconstruction by the training images' components; (N, D) → (N,)."""
    mean = train.mean(dim=0)
    centred = train - mean
    _, axes = torch.linalg.eigh(centred.T @ centred)
    kept = axes[:, -components:]
    deviations = images - mean
    return (deviations.square().sum(dim=1) - (deviations @ kept).square().sum(dim=1)).clamp(min=0)
