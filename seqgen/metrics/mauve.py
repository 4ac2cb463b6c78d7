"""MAUVE: the area under the divergence frontier of two texts (Pillutla et al. 2021, arXiv:2102.01454).

Embeddings of both texts are scaled to length 1, projected on the principal components that hold 90 % of their
variance, and quantised together by k-means, a tenth as many clusters as sentences of the smaller text. With p
and q the histograms of the clusters, the frontier are the points exp(-5 KL(q ‖ r)), exp(-5 KL(p ‖ r)) of the
mixtures r of p and q; the area under it is 1 for equal histograms and .004 for disjoint ones. Values compare
only where embeddings and numbers of sentences are the same.

Of equal histograms the package `mauve-text` gives the same value to the last digit; by its own k-means, of
faiss in place of scikit-learn, values differ by about .005.
"""

import warnings

import numpy as np

from seqgen.ngrams.ngrams import Floats, Ints

SENTENCES = 5_000
"""Sentences of either text at most, as in the paper."""
PER_CLUSTER = 10
VARIANCE = 0.9
MIXTURES = 25
SCALING = 5.0


def mauve(vectors: Floats, others: Floats, groups: Ints | None = None, *, seed: int = 0) -> Floats:
    """MAUVE of sentence embeddings (N, D) and (R, D), by an even choice of at most 5,000 of each; (1 + J,).

    The first value is that of all sentences, the others leave out one group of `groups` (N,) each; the
    clusters stay, only the histogram changes.
    """
    rows, other_rows = (_evenly(len(each)) for each in (vectors, others))
    clusters, other_clusters = quantise(vectors[rows], others[other_rows], seed=seed)
    size = int(max(clusters.max(), other_clusters.max())) + 1
    counts, other = (np.bincount(each, minlength=size) for each in (clusters, other_clusters))
    parts = [counts]
    if groups is not None:
        chosen = groups[rows]
        parts += [
            counts - np.bincount(clusters[chosen == j], minlength=size) for j in range(int(groups.max()) + 1)
        ]
    return np.array([frontier_area(part / part.sum(), other / other.sum()) for part in parts])


def _evenly(n: int) -> Ints:
    """Choose at most 5,000 of n rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, SENTENCES)).astype(np.int64))


def quantise(vectors: Floats, others: Floats, *, seed: int = 0) -> tuple[Ints, Ints]:
    """Return the cluster of every embedding; (N, D), (R, D) → (N,), (R,)."""
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning

    both = np.concatenate([vectors, others])
    norms = np.linalg.norm(both, axis=1, keepdims=True)
    both = both / np.where(norms > 0, norms, 1.0)
    if both.std(axis=0).max() > 0:
        both = PCA(VARIANCE, svd_solver="full").fit_transform(both) if both.shape[1] > 1 else both
    clusters = max(2, round(min(len(vectors), len(others)) / PER_CLUSTER))
    with warnings.catch_warnings():  # fewer different sentences than clusters leave some empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(clusters, n_init=1, random_state=seed).fit_predict(both).astype(np.int64)
    return labels[: len(vectors)], labels[len(vectors) :]


def frontier_area(p: Floats, q: Floats) -> float:
    """Area under the divergence frontier of two histograms (K,), in [0, 1]."""
    points = [(0.0, 1.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, MIXTURES):
        mixture = weight * p + (1 - weight) * q
        points.append((_exp_kl(q, mixture), _exp_kl(p, mixture)))
    x, y = np.array([*points, (1.0, 0.0)]).T
    # Both orders: a frontier of few points is not exactly monotone.
    return (_area(x, y) + _area(y, x)) / 2


def _area(x: Floats, y: Floats) -> float:
    """Area under the line through points in the order of x, of equal ones the higher first."""
    order = np.lexsort((-y, x))
    x, y = x[order], y[order]
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def _exp_kl(p: Floats, q: Floats) -> float:
    support = p > 0
    return float(np.exp(-SCALING * (p[support] * np.log(p[support] / q[support])).sum()))
