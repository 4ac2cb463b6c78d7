"""Anomaly detection: a model's anomaly score of each image, and its area under the ROC curve.

A model that was trained without a digit should give it higher scores than the nine others. `left_out`
measures that for each label, beside two scores that need no training: the reconstruction error of the
principal components of the training images, and the distance to the nearest training image.
"""

import math
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
from seqgen.training.data_config import short_name
from seqgen.training.job import ROOT

Z95 = 1.959964
CHUNK = 500
"""Images scored at a time."""
COMPONENTS = 32
"""Principal components compared with a model without the setting `latent_dim`."""


@dataclass(frozen=True)
class Auroc:
    """The area under the ROC curve: 0.5 by chance, 1 where every anomalous image scores higher."""

    value: float
    low: float
    high: float
    """95 % interval (DeLong, DeLong and Clarke-Pearson 1988), over images"""


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> Auroc:
    """Return how often an anomalous image scores above a normal one; a tie counts half.

    Args:
        scores: (N,), higher is more anomalous.
        anomalous: (N,) bool, the truth.

    Raises:
        UserError: there are no anomalous images, or no normal ones.
    """
    hits, others = scores[anomalous], scores[~anomalous]
    if not len(hits) or not len(others):
        raise UserError(
            f"an AUROC needs anomalous and normal images; of {len(scores)} images {len(hits)} are anomalous"
        )
    # Of each image, the fraction of the other kind that it is ranked correctly against.
    won, beaten = 1 - _rank_among(hits, others), _rank_among(others, hits)
    value = float(won.mean())
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in (won, beaten) if len(part) > 1))
    return Auroc(value, max(0.0, value - Z95 * error), min(1.0, value + Z95 * error))


def _rank_among(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return, for each value, the fraction of `others` above it, ties half."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return 1 - (below + upto) / (2 * len(others))


@dataclass(frozen=True)
class Scored:
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


def score(trained: TrainedImages, folder: Path | None = None, anomalous: str | None = None) -> Scored:
    """Score the pictures of a folder, or the test images of the run.

    Args:
        anomalous: the label or subfolder of the anomalous images; the label that the run was trained without
            where not given.

    Raises:
        UserError: no pictures there, pictures that the model does not fit, or no image of that label.
    """
    names, labels, images = _test_images(trained) if folder is None else _pictures(trained, folder)
    left_out = trained.run.config["without"]
    label = anomalous or (None if left_out is None else trained.names[left_out])
    if anomalous is not None and anomalous not in labels:
        raise UserError(
            f"no image has the label '{anomalous}'" + did_you_mean(anomalous, sorted(set(labels)))
        )
    values = scores(trained, images)
    area = auroc(values, np.array(labels) == label) if label in labels else None
    return Scored(names, labels, values, label, area)


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


def _pictures(trained: TrainedImages, folder: Path) -> tuple[list[str], list[str], Images]:
    paths = files.pictures_in(folder)
    if not paths:
        raise UserError(f"no pictures in '{folder}'; give a folder of {', '.join(sorted(files.PICTURES))}")
    pixels = torch.from_numpy(files.decode_pictures((str(path), path.read_bytes()) for path in paths))
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
    opened = open_images(data, seed=options.get("seed", 0))
    train, test = (set(split.labels.unique().tolist()) - {-1} for split in (opened.train, opened.test))
    if len(train & test) < 2:
        raise UserError(f"'{data}' has fewer than two labels; there is none to leave out")
    for label in sorted(train & test):
        job = setup.train_job(
            model,
            data,
            path=root / f"without-{label}",
            without=label,
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
        auroc(scores(trained, test), anomalous),
        auroc(pca_error(train_images, test_images, components).numpy(), anomalous),
        auroc(precision_recall.nearest(test_images, train_images)[0].numpy(), anomalous),
    )


def table(rows: Sequence[LeftOut]) -> list[str]:
    """Lay the areas out as lines, a label each with the model's 95 % interval, and their mean."""
    cells: list[tuple[str, ...]] = [("label", "model", "95 %", "pca", "nearest")]
    for row in rows:
        interval = f"{row.model.low:.3f} to {row.model.high:.3f}"
        areas = [f"{area.value:.3f}" for area in (row.model, row.pca, row.nearest)]
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
