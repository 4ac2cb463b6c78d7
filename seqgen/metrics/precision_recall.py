"""How two sets of vectors overlap, by balls around each vector that reach to its k-th neighbour.

N real and M made vectors of D numbers. The balls of a set stand for the region it fills: precision and recall
of Kynkäänniemi et al. 2019 (arXiv:1904.06991), density and coverage of Naeem et al. 2020 (arXiv:2002.09797).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

NEIGHBOURS = 3
"""k of precision and recall in Kynkäänniemi et al. 2019."""
ROWS = 1000
"""Vectors compared with all others at a time."""


def overlap(real: Tensor, made: Tensor, *, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return `precision`, `recall`, `density` and `coverage`; (N, D), (M, D) with N and M above k.

    - precision: share of made vectors in at least one ball of the real
    - recall: share of real vectors in at least one ball of the made
    - density: mean number of balls of the real that a made vector is in, over k; may exceed 1
    - coverage: share of real vectors whose ball holds at least one made vector

    Raises:
        ValueError: a set has too few vectors to have a k-th neighbour.
    """
    if min(len(real), len(made)) <= k:
        raise ValueError(
            f"{len(real)} and {len(made)} vectors: a {k}-th neighbour needs more than {k} of each"
        )
    centre = real.mean(dim=0)  # taken from both: fewer digits cancel
    real, made = real - centre, made - centre
    real_radii, made_radii = radii(real, k), radii(made, k)
    balls, precise = 0.0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for rows, distances in _distances(made, real):
        inside = distances <= real_radii
        balls += float(inside.sum())
        precise += int(inside.any(dim=1).sum())
        covered |= inside.any(dim=0)
        recalled |= (distances <= made_radii[rows, None]).any(dim=0)
    return {
        "precision": precise / len(made),
        "recall": float(recalled.float().mean()),
        "density": balls / (k * len(made)),
        "coverage": float(covered.float().mean()),
    }


def radii(vectors: Tensor, k: int) -> Tensor:
    """Return the squared distance of each vector to its k-th neighbour, itself not counted; (N, D) → (N,)."""
    # Itself, at distance 0, comes first.
    found = [part.topk(k + 1, largest=False).values[:, -1] for _, part in _distances(vectors, vectors)]
    return torch.cat(found)


def nearest(vectors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return each vector's distance to the nearest of others, and its row; (N, D), (M, D) → (N,), (N,)."""
    least, where = [], []
    for _, distances in _distances(vectors, others):
        found = distances.min(dim=1)
        least.append(found.values)
        where.append(found.indices)
    # The difference itself: of two equal vectors the products above leave a rounding error.
    index = torch.cat(where)
    return (vectors - others[index]).square().sum(dim=1).sqrt(), index


def _distances(vectors: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of vectors and their squared distances to all others, (R, M)."""
    squares = others.square().sum(dim=1)
    for first in range(0, len(vectors), ROWS):
        rows = slice(first, first + ROWS)
        part = vectors[rows]
        distances = torch.addmm(squares, part, others.T, alpha=-2).add_(part.square().sum(dim=1)[:, None])
        yield rows, distances.clamp_(min=0)
