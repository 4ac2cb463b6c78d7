"""Precision, recall, density and coverage of generated vectors, from k-nearest-neighbour balls.

N real and M generated vectors of D dimensions. The support of a set is estimated by the balls around its
vectors whose radius is the distance to the k-th nearest neighbour: precision and recall of Kynkäänniemi et
al. 2019 (arXiv:1904.06991), density and coverage of Naeem et al. 2020 (arXiv:2002.09797).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

NEIGHBOURS = 3
"""k of precision and recall in Kynkäänniemi et al. 2019."""
ROWS = 1000
"""Vectors compared with all others at a time; bounds the memory."""


def overlap(real: Tensor, generated: Tensor, *, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return `precision`, `recall`, `density` and `coverage`; (N, D), (M, D) with N and M above k.

    - precision: fraction of generated vectors in at least one ball of a real vector
    - recall: fraction of real vectors in at least one ball of a generated vector
    - density: mean number of real balls that contain a generated vector, over k; may exceed 1
    - coverage: fraction of real vectors whose ball contains at least one generated vector

    Raises:
        ValueError: a set has k vectors or fewer, so that no vector has a k-th neighbour.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(
            f"{len(real)} and {len(generated)} vectors: a {k}-th neighbour needs more than {k} of each"
        )
    centre = real.mean(dim=0)  # subtracted from both: fewer digits cancel
    real, generated = real - centre, generated - centre
    real_radii, generated_radii = radii(real, k), radii(generated, k)
    balls, precise = 0.0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for rows, distances in _distances(generated, real):
        inside = distances <= real_radii
        balls += float(inside.sum())
        precise += int(inside.any(dim=1).sum())
        covered |= inside.any(dim=0)
        recalled |= (distances <= generated_radii[rows, None]).any(dim=0)
    return {
        "precision": precise / len(generated),
        "recall": float(recalled.float().mean()),
        "density": balls / (k * len(generated)),
        "coverage": float(covered.float().mean()),
    }


def radii(vectors: Tensor, k: int) -> Tensor:
    """Return the squared distance of each vector to its k-th neighbour, itself excluded; (N, D) → (N,)."""
    # Rank 0 is the vector itself, at distance 0.
    found = [part.topk(k + 1, largest=False).values[:, -1] for _, part in _distances(vectors, vectors)]
    return torch.cat(found)


def nearest(vectors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest of `others` and its row; (N, D), (M, D) → (N,), (N,)."""
    least, where = [], []
    for _, distances in _distances(vectors, others):
        found = distances.min(dim=1)
        least.append(found.values)
        where.append(found.indices)
    # Computed again from the difference: the expansion above has a rounding error for equal vectors.
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
