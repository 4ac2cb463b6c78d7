"""Intervals: the bootstrap against theory, the jackknife against the standard error."""

import math

import numpy as np
import pytest

from seqgen.metrics.confidence import (
    GROUPS,
    T95,
    Bootstrap,
    jackknife_groups,
    jackknife_interval,
    percentile_interval,
)


def sums(n: int, seed: int, resamples: int) -> np.ndarray:
    """Counts of each sentence in each resample."""
    return Bootstrap(n, seed, resamples).sums(np.eye(n))


def test_every_resample_draws_n_of_n() -> None:
    draws = sums(101, seed=3, resamples=7)
    assert draws.shape == (7, 101)
    assert draws.sum(axis=1).tolist() == [101] * 7
    assert (draws == sums(101, seed=3, resamples=7)).all()
    assert (draws != sums(101, seed=4, resamples=7)).any()


def test_chunks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sums(13, seed=0, resamples=11)
    monkeypatch.setattr("seqgen.metrics.confidence.CHUNK", 26)
    assert (sums(13, seed=0, resamples=11) == whole).all()
    monkeypatch.setattr("seqgen.metrics.confidence.CACHED", 100)  # drawn again for every score
    draws = Bootstrap(13, seed=0, resamples=11)
    assert (draws.sums(np.eye(13)) == whole).all()
    assert (draws.sums(2 * np.eye(13)) == 2 * whole).all()


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    scores = np.random.default_rng(0).standard_normal(2003)
    low, high = Bootstrap(2003, seed=1).means({"x": scores})["x"]
    half = 1.96 * scores.std() / math.sqrt(2003)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (high + low) / 2 == pytest.approx(scores.mean(), abs=half / 5)


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    # resamples of two: twice the first 1/1, twice the second 60/20, one of each 31/11
    draws = Bootstrap(2, seed=0)
    assert draws.ratio(np.array([1.0, 30.0]), np.array([1.0, 10.0])) == (pytest.approx(1), pytest.approx(3))
    means = draws.sums(np.array([[1.0, 1.0], [30.0, 10.0]]))
    assert set(np.round(means[:, 0] / means[:, 1], 4)) == {1.0, 3.0, 2.8182}


def test_percentiles() -> None:
    assert percentile_interval(np.arange(1001.0)) == (pytest.approx(25.0), pytest.approx(975.0))


def test_groups_are_of_nearly_one_size_and_seeded() -> None:
    found = jackknife_groups(67, seed=1)
    assert found is not None
    assert set(np.bincount(found)) == {67 // GROUPS, 67 // GROUPS + 1}
    assert len(np.bincount(found)) == GROUPS
    assert found.tolist() == jackknife_groups(67, seed=1).tolist() != jackknife_groups(67, seed=2).tolist()
    assert jackknife_groups(2 * GROUPS - 1, seed=0) is None


def test_the_jackknife_of_a_mean_is_the_standard_error() -> None:
    # of one value a group the delete-a-group jackknife is s / √n exactly
    x = np.random.default_rng(2).standard_normal(GROUPS)
    values = np.array([x.mean(), *((x.sum() - x) / (GROUPS - 1))])
    low, high = jackknife_interval(values)
    assert (high - low) / 2 == pytest.approx(T95 * x.std(ddof=1) / math.sqrt(GROUPS))
    assert (high + low) / 2 == pytest.approx(x.mean())
