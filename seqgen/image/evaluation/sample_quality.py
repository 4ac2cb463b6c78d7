"""Sample quality: the distance of a run's samples from real images, and from its training images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Images, at_a_time
from seqgen.image.evaluation.features import Features
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics import precision_recall
from seqgen.metrics.set_metrics import frechet_distance

CHUNK = 1000
"""Images drawn at a time."""
NEAREST_IMAGES = 2000
"""Samples, and test images, whose nearest training image is searched."""
COPY_QUANTILE = 0.01
"""Quantile of the test images' distances below which a sample counts as a copy."""


def measure(
    trained: TrainedImages,
    n: int,
    spaces: Sequence[Features],
    *,
    seed: int = 0,
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Return `samples`, `training_images`, `ranges` and `nearest` of `evaluate`, of at most n images.

    spaces: the feature spaces over which the metrics of the first two are averaged.
    """
    data, draw = trained.data, np.random.default_rng(seed)
    n = min(n, len(data.test), len(data.train))
    if n <= precision_recall.NEIGHBOURS:
        raise UserError(
            f"{n} images to compare are too few for their {precision_recall.NEIGHBOURS} nearest neighbours: "
            f"of {len(data.test)} test and {len(data.train)} training images; give more"
        )
    real, train = (
        split.rows(torch.from_numpy(draw.permutation(len(split))[:n])) for split in (data.test, data.train)
    )
    notify(f"drawing {n:,} samples")
    generated = draw_samples(trained, n, labels=known_labels(real.labels, data.train.labels, draw), seed=seed)
    compared = {"samples": generated, "training_images": train.batch(slice(None)).images}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in compared}
    for features in spaces:
        real_features = features.of(real.batch(slice(None)).images)
        for name, images in compared.items():
            found[name].append(compare(real_features, features.of(images)))
    distances: dict[str, Any] = {
        name: {key: float(np.mean(values)) for key, values in _columns(rows).items()}
        for name, rows in found.items()
    }
    distances["ranges"] = {
        name: {key: [min(values), max(values)] for key, values in _columns(rows).items()}
        for name, rows in found.items()
    }
    notify("searching the nearest training images")
    of_samples, _ = nearest(generated[:NEAREST_IMAGES], data.train)
    of_test, _ = nearest(real.batch(slice(0, NEAREST_IMAGES)).images, data.train)
    return distances | {
        "nearest": {
            "samples": float(of_samples.median()),
            "test": float(of_test.median()),
            "copy_rate": copy_rate(of_samples, of_test),
            "test_in_training": float((of_test == 0).float().mean()),
            "images": len(of_samples),
        }
    }


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return each metric's values in several feature spaces."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def copy_rate(of_samples: Tensor, of_test: Tensor) -> float:
    """Return the fraction of samples that are nearer to a training image than 99 % of test images are.

    (N,), (M,) distances. Test images that are also training images, at distance 0, say nothing of how near
    new images come, and are left out; a sample at distance 0 is a copy in any case.
    """
    new = of_test[of_test > 0]
    limit = float(new.quantile(COPY_QUANTILE)) if len(new) else 0.0
    return float(((of_samples < limit) | (of_samples == 0)).float().mean())


def known_labels(labels: Tensor, training: Tensor, draw: np.random.Generator) -> Tensor:
    """Return labels (N,), each that is not known, -1, drawn from the known ones of training images."""
    pool = training[training >= 0]
    unknown = labels < 0
    if not len(pool) or not unknown.any():
        return labels
    drawn = pool[torch.from_numpy(draw.integers(0, len(pool), len(labels)))]
    return torch.where(unknown, drawn, labels)


def draw_samples(trained: TrainedImages, n: int, *, labels: Tensor, seed: int = 0) -> Tensor:
    """Draw n samples on the CPU, binary where the data are; a conditional model's of the labels, (n,)."""
    model, device = trained.model, trained.device
    rng = torch.Generator(device).manual_seed(seed)
    conditional = getattr(model.config, "conditional", False)
    parts = []
    for chunk in labels[:n].split(at_a_time(CHUNK, trained.run.config.get("shape", ()))):
        means = model.sample(len(chunk), chunk.to(device) if conditional else None, rng)
        if trained.data.binarise != "none":
            means = torch.bernoulli(means, generator=rng)
        parts.append(means.cpu())
    return torch.cat(parts)


def compare(real: Tensor, generated: Tensor) -> dict[str, float]:
    """Compare two sets of feature vectors: the metrics of `samples`; (N, D), (M, D)."""
    distance = frechet_distance(generated.double().numpy(), real.double().numpy())[0]
    return {"frechet": float(distance), **precision_recall.overlap(real, generated)}


def nearest(images: Tensor, among: Images) -> tuple[Tensor, Tensor]:
    """Return each image's distance to the nearest of a split, and its row; (N, C, H, W) → (N,), (N,)."""
    return precision_recall.nearest(images.flatten(1), among.batch(slice(None)).images.flatten(1))
