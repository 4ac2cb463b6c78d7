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
from seqgen.metrics.auroc import AtThreshold, Auroc, at_threshold, auroc, average_precision
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
class Detection:
    """How well scores separate the images of one label, or of all anomalous ones, from the normal images."""

    label: str
    """the label, several labels joined by a comma"""
    auroc: Auroc
    average_precision: float
    """by chance the fraction of anomalous images"""
    anomalous_images: int
    normal_images: int
    at_threshold: AtThreshold | None
    """where a quantile for the threshold is given"""


@dataclass(frozen=True)
class Threshold:
    """A quantile of the scores of normal images that the model was not trained on, those of validation."""

    value: float
    quantile: float
    images: int


@dataclass(frozen=True)
class AnomalyScores:
    """The anomaly scores of some images."""

    names: list[str]
    """the path of each picture, or its number among the test images"""
    labels: list[str]
    """the label, or the subfolder; empty where there is none"""
    scores: np.ndarray
    """(N,), higher is more anomalous; each model says what its `score` is"""
    threshold: Threshold | None
    detections: list[Detection]
    """of all anomalous images, and then of each label where there are several; empty where none is known"""
    note: str | None = None
    """why there are none although it is known which images are anomalous"""


def score(
    trained: TrainedImages,
    folder: Path | None = None,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    *,
    quantile: float | None = None,
) -> AnomalyScores:
    """Score the pictures of a folder, or the test images of the run.

    Args:
        anomalous: the labels or subfolders of the anomalous images. Where neither they nor the normal ones
            are given, they are the labels that the model was not trained on.
        normal: those of the normal images; all others are anomalous where these are not given. With both,
            other images are scored and not counted.
        quantile: in (0, 1); calls anomalous what scores above that quantile of the validation images, which
            are normal and were not trained on.

    Raises:
        UserError: no pictures there, pictures that the model does not fit, or no image of such a label.
    """
    names, labels, images = _test_images(trained) if folder is None else _read_pictures(trained, folder)
    _check_known((*anomalous, *normal), labels)
    if not anomalous and not normal:
        anomalous = [name for name in _untrained(trained) if name in labels]
    if both := sorted({*anomalous} & {*normal}):
        raise UserError(f"label '{both[0]}' is given both as --anomalous and as --normal; leave one out")
    values = scores(trained, images)
    threshold = None if quantile is None else _threshold(trained, quantile)
    present = [label for label in dict.fromkeys(sorted(labels)) if label not in normal]
    kinds = list(dict.fromkeys(anomalous)) or (present if normal else [])
    rows = np.array(labels)
    is_normal = np.isin(rows, list(normal)) if normal else ~np.isin(rows, kinds)
    detections, note = [], None
    if kinds and is_normal.any():
        groups = [kinds, *([kind] for kind in kinds)] if len(kinds) > 1 else [kinds]
        detections = [_detect(group, values, rows, is_normal, threshold) for group in groups]
    elif kinds:
        note = "every image is anomalous, and none normal to compare with; name some by --normal LABEL"
    elif normal:
        note = "every image is normal, and none anomalous to detect"
    return AnomalyScores(names, labels, values, threshold, detections, note)


def _untrained(trained: TrainedImages) -> list[str]:
    """Return the names of the labels that no training image had; none where training images had no labels."""
    known = trained.training_labels
    return [name for label, name in enumerate(trained.names) if known and label not in known]


def _check_known(given: Sequence[str], labels: Sequence[str]) -> None:
    for label in given:
        if label not in labels:
            raise UserError(f"no image has the label '{label}'" + did_you_mean(label, sorted(set(labels))))


def _threshold(trained: TrainedImages, quantile: float) -> Threshold:
    """Return a quantile of the scores of the validation images."""
    if not 0 < quantile < 1:
        raise UserError(f"--quantile {quantile:g}: give a number between 0 and 1, such as 0.95")
    held_out = trained.data.valid
    return Threshold(float(np.quantile(scores(trained, held_out), quantile)), quantile, len(held_out))


def _detect(
    kinds: Sequence[str],
    values: np.ndarray,
    labels: np.ndarray,
    is_normal: np.ndarray,
    threshold: Threshold | None,
) -> Detection:
    """Measure how well scores (N,) separate the images of some labels from the normal ones."""
    anomalous, normal = values[np.isin(labels, list(kinds))], values[is_normal]
    return Detection(
        ", ".join(kinds),
        auroc(normal, anomalous),
        average_precision(normal, anomalous),
        len(anomalous),
        len(normal),
        None if threshold is None else at_threshold(normal, anomalous, threshold.value),
    )


def summary(scored: AnomalyScores) -> list[str]:
    """Say how well anomalous images were detected, in lines."""
    lines = [] if scored.note is None else [scored.note]
    if scored.threshold is not None:
        where = scored.threshold
        lines.append(
            f"threshold: {where.value:.4g}, the {where.quantile:g} quantile of {where.images:,} validation "
            "images"
        )
    for row in scored.detections:
        low, high = row.auroc.interval
        lines.append(
            f"AUROC of '{row.label}': {row.auroc.value:.3f} (95 % {low:.3f} to {high:.3f}), average "
            f"precision {row.average_precision:.3f}; {row.anomalous_images:,} anomalous and "
            f"{row.normal_images:,} normal images"
        )
        if (called := row.at_threshold) is not None:
            lines.append(
                f"  above the threshold: precision {called.precision:.3f}, recall {called.recall:.3f}, F1 "
                f"{called.f1:.3f}; {called.false_positive_rate:.1%} of normal images"
            )
    return lines


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
    (label,) = trained.left_out
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
