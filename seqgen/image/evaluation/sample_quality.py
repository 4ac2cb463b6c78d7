"""How near the samples of an image run are to real images, and how near to those it learned from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Images
from seqgen.image.evaluation.features import Features
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics import precision_recall
from seqgen.metrics.set_metrics import frechet_distance

ROWS = 1000
"""Images drawn at a time."""
NEAREST = 2000
"""Samples, and test images, whose nearest training image is looked for."""
COPY_QUANTILE = 0.01
"""Share of test images that are nearer to a training image than what counts as a copy."""


def samples(
    trained: TrainedImages,
    n: int,
    features: Features,
    *,
    seed: int = 0,
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Return the figures of `samples`, `floor` and `nearest` of `seqgen.image.evaluation.evaluate`, at most n images."""
    data, draw = trained.data, np.random.default_rng(seed)
    n = min(n, len(data.test), len(data.train))
    if n <= precision_recall.NEIGHBOURS:
        raise UserError(
            f"{n} images to compare are too few for their {precision_recall.NEIGHBOURS} nearest neighbours: of "
            f"{len(data.test)} test and {len(data.train)} training images; give more"
        )
    real, train = (
        split.rows(torch.from_numpy(draw.permutation(len(split))[:n])) for split in (data.test, data.train)
    )
    notify(f"drawing {n:,} samples")
    made = drawn(trained, n, labels=real.labels, seed=seed)
    vectors = features.of(real.batch(slice(None)).images)
    kinds = {"samples": made, "floor": train.batch(slice(None)).images}
    found = {name: compared(vectors, features.of(images)) for name, images in kinds.items()}
    notify("looking for the nearest training images")
    distance, _ = nearest(made[:NEAREST], data.train)
    of_test, _ = nearest(real.batch(slice(0, NEAREST)).images, data.train)
    copies = (distance < of_test.quantile(COPY_QUANTILE)).float().mean()
    return found | {
        "nearest": {
            "samples": float(distance.median()),
            "test": float(of_test.median()),
            "copies": float(copies),
            "images": len(distance),
        }
    }


def drawn(trained: TrainedImages, n: int, *, labels: Tensor, seed: int = 0) -> Tensor:
    """Draw n samples on the CPU as the data are, binary or not; a conditional model's of the labels, (n,)."""
    model, device = trained.model, trained.device
    rng = torch.Generator(device).manual_seed(seed)
    conditional = getattr(model.config, "conditional", False)
    parts = []
    for given in labels[:n].split(ROWS):
        means = model.sample(len(given), given.to(device) if conditional else None, rng)
        if trained.data.binarise != "none":
            means = torch.bernoulli(means, generator=rng)
        parts.append(means.cpu())
    return torch.cat(parts)


def compared(real: Tensor, made: Tensor) -> dict[str, float]:
    """Compare two sets of vectors: the figures of `samples`; (N, D), (M, D)."""
    distance = frechet_distance(made.double().numpy(), real.double().numpy())[0]
    return {"frechet": float(distance), **precision_recall.overlap(real, made)}


def nearest(images: Tensor, among: Images) -> tuple[Tensor, Tensor]:
    """Return each image's distance to the nearest of a split, and its row; (N, C, H, W) → (N,), (N,)."""
    return precision_recall.nearest(images.flatten(1), among.batch(slice(None)).images.flatten(1))
