"""Codes as points of the plane: principal components, t-SNE, UMAP; of images and of sentences alike.

N codes, Z units of a code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from seqgen.core.errors import UserError

Method = Literal["pca", "tsne", "umap"]
PRINCIPAL = 50
"""Principal components that t-SNE and UMAP see at most: the rest is mostly noise, and costs time."""


@dataclass(frozen=True)
class Map:
    """Codes as points of the plane."""

    points: np.ndarray
    """(N, 2)"""
    axes: tuple[str, str] | None
    """what the axes are; None where only distances between near points mean anything"""


def project(codes: Tensor, method: Method, *, seed: int = 0) -> Map:
    """Lay codes (N, Z) out in the plane; `pca` takes codes of two units as they are.

    UserError for fewer than three codes or codes that are all the same, where t-SNE and UMAP have no
    neighbours to keep together, and where UMAP is not installed.
    """
    values = codes.double().cpu().numpy()
    if len(values) < 3:
        raise UserError(f"{len(values)} codes make no map; give at least 3")
    if not np.ptp(values, axis=0).any():
        raise UserError(f"all {len(values)} codes are the same and make no map; train for longer")
    if method == "pca" and values.shape[1] == 2:
        return Map(values, ("first unit of the code", "second unit of the code"))
    components, shares = principal(values)
    if method == "pca":
        names = ("first", "second")
        words = [f"{name} principal component ({shares[i]:.0%} of variance)" for i, name in enumerate(names)]
        return Map(components[:, :2], (words[0], words[1]))
    learn = {"tsne": _tsne, "umap": _umap}[method]
    return Map(learn(components[:, :PRINCIPAL], seed), None)


def principal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the principal components of rows (N, Z), strongest first, and their shares of the variance.

    Each component's sign is such that its largest value is positive: the same rows give the same picture.
    """
    centred = values - values.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    components = left * strengths
    largest = components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])]
    variances = strengths**2
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
