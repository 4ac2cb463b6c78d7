"""2-D projections of latents, of images or of sentences: principal components, t-SNE, UMAP.

N latents of Z dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from seqgen.core.errors import UserError

Method = Literal["pca", "tsne", "umap"]
MAX_COMPONENTS = 50
"""Principal components that t-SNE and UMAP use: the rest is mostly noise, and costs time."""


@dataclass(frozen=True)
class Projection:
    """Latents as points of the plane."""

    points: np.ndarray
    """(N, 2)"""
    axes: tuple[str, str] | None
    """labels of the axes; None if only the distances between close points have a meaning"""


def project(latents: Tensor, method: Method, *, seed: int = 0) -> Projection:
    """Project latents (N, Z) to 2-D; `pca` leaves two-dimensional latents as they are.

    Those of one dimension are at their values from left to right, whatever the method, and at random heights,
    so that they do not hide each other.

    UserError for fewer than three latents, if all are equal, so that no neighbours can be preserved, or if
    UMAP is not installed.
    """
    values = latents.cpu().double().numpy()
    if len(values) < 3:
        raise UserError(f"{len(values)} latents are too few for a map; give at least 3")
    if not np.ptp(values, axis=0).any():
        raise UserError(f"all {len(values)} latents are equal, which makes no map; train for longer")
    if values.shape[1] == 1:
        heights = np.random.default_rng(seed).random((len(values), 1))
        return Projection(np.hstack([values, heights]), ("the latent dimension", "at random heights"))
    if method == "pca" and values.shape[1] == 2:
        return Projection(values, ("first latent dimension", "second latent dimension"))
    components, ratios = principal_components(values)
    if method == "pca":
        names = ("first", "second")
        labels = [f"{name} principal component ({ratios[i]:.0%} of variance)" for i, name in enumerate(names)]
        return Projection(components[:, :2], (labels[0], labels[1]))
    embed = {"tsne": _tsne, "umap": _umap}[method]
    return Projection(embed(components[:, :MAX_COMPONENTS], seed), None)


def principal_components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the principal components of rows (N, Z), largest first, and their explained variance ratios.

    The sign of each component makes its largest value positive, so that the same rows give the same picture.
    """
    centred = values - values.mean(axis=0)
    left, singular_values, _ = np.linalg.svd(centred, full_matrices=False)
    components = left * singular_values
    largest = components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])]
    variances = singular_values**2
    return components * np.where(largest < 0, -1, 1), variances / max(variances.sum(), np.finfo(float).tiny)


def _tsne(values: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE  # takes a second to import

    perplexity = min(30.0, (len(values) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)


def _umap(values: np.ndarray, seed: int) -> np.ndarray:
    make = _umap_class()
    return make(random_state=seed, n_neighbors=min(15, len(values) - 1)).fit_transform(values)


def _umap_class() -> Callable:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError("UMAP is not installed; 'pip install umap-learn', or take pca or tsne") from error
    return UMAP
