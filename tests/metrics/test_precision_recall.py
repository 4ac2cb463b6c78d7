"""Precision, recall, density, coverage: by hand on a line, against a slow reference; nearest others."""

import pytest
import torch
from torch import Tensor

from seqgen.metrics import precision_recall
from seqgen.metrics.precision_recall import nearest, overlap, radii


def line(*points: float) -> Tensor:
    return torch.tensor(points, dtype=torch.float32)[:, None]


def test_overlap_by_hand() -> None:
    # k = 1. Real 0, 1, 3: radii 1, 1, 2. Generated 0.5, 6, 7: radii 5.5, 1, 1.
    # 0.5 is in the balls of 0 and 1 but not of 3 (2.5 > 2); 6 and 7 are 3 and 4 away from 3: in none.
    # precision 1/3, density 2/3; real 0 and 1 contain a generated vector, 3 none: coverage 2/3.
    # The ball of 0.5 reaches -5 … 6, so over all the real: recall 1.
    found = overlap(line(0, 1, 3), line(0.5, 6, 7), k=1)
    assert found == pytest.approx({"precision": 1 / 3, "recall": 1.0, "density": 2 / 3, "coverage": 2 / 3})


def test_overlap_the_other_way_round_swaps_precision_and_recall() -> None:
    found = overlap(line(0.5, 6, 7), line(0, 1, 3), k=1)
    assert (found["precision"], found["recall"]) == (1.0, pytest.approx(1 / 3))


def test_a_set_overlaps_itself_and_nothing_far_away() -> None:
    vectors = torch.randn(31, 5, generator=torch.Generator().manual_seed(0))
    same = overlap(vectors, vectors)
    assert (same["precision"], same["recall"], same["coverage"]) == (1.0, 1.0, 1.0)
    assert same["density"] == pytest.approx(4 / 3, rel=0.2)  # its own ball, and about k others, over k
    apart = overlap(vectors, vectors + 100)
    assert set(apart.values()) == {0.0}


def test_samples_that_are_all_alike_have_high_precision_and_low_recall() -> None:
    real = torch.randn(101, 3, generator=torch.Generator().manual_seed(0))
    generated = 0.01 * torch.randn(97, 3, generator=torch.Generator().manual_seed(1))
    found = overlap(real, generated)
    assert found["precision"] == 1.0
    assert found["recall"] < 0.02


@pytest.mark.parametrize("rows", [7, 1000])
def test_equal_to_a_slow_reference(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "ROWS", rows)  # parts that do not divide the sets
    rng = torch.Generator().manual_seed(3)
    real = torch.randn(53, 5, generator=rng, dtype=torch.float64)
    generated = 0.8 * torch.randn(47, 5, generator=rng, dtype=torch.float64) + 0.5
    k = 3
    distance = torch.cdist(real, generated)
    real_ball = torch.cdist(real, real).sort(dim=1).values[:, k]
    generated_ball = torch.cdist(generated, generated).sort(dim=1).values[:, k]
    in_real = distance <= real_ball[:, None]
    assert overlap(real, generated, k=k) == pytest.approx(
        {
            "precision": float(in_real.any(dim=0).double().mean()),
            "recall": float((distance <= generated_ball).any(dim=1).double().mean()),
            "density": float(in_real.sum() / (k * 47)),
            "coverage": float(in_real.any(dim=1).double().mean()),
        }
    )
    torch.testing.assert_close(radii(real, k), real_ball.square())
    least, where = nearest(real, generated)
    torch.testing.assert_close(least, distance.min(dim=1).values)
    assert torch.equal(where, distance.argmin(dim=1))


def test_two_of_a_kind_are_each_others_neighbours() -> None:
    # 4, 4, 9: the first two are 0 away from each other, 9 is 5 away from both
    assert radii(line(4, 4, 9), 1).tolist() == [0, 0, 25]


def test_an_image_is_at_distance_zero_from_itself() -> None:
    images = torch.rand(101, 784, generator=torch.Generator().manual_seed(0))
    least, where = nearest(images, images)
    assert set(least.tolist()) == {0.0}
    assert where.tolist() == list(range(101))


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 7 vectors: a 3-th neighbour needs more than 3 of each"):
        overlap(torch.zeros(3, 2), torch.zeros(7, 2))
