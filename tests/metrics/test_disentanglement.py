"""The mutual information gap: by hand, against scikit-learn, and where dimensions are mixed."""

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from seqgen.metrics.disentanglement import BINS, mutual_information, mutual_information_gap


def test_one_dimension_that_says_the_factor_has_the_whole_gap() -> None:
    factor = np.arange(60) % 3
    latents = np.stack([factor * 1.0, np.zeros(60)], axis=1)
    assert mutual_information_gap(latents, factor[:, None]) == pytest.approx(1.0)
    # two that say it: none; one that says whether it is 2, which is ⅓ log 3 + ⅔ log 3/2 of log 3 nats
    both = np.stack([factor * 1.0, 7.0 - factor], axis=1)
    assert mutual_information_gap(both, factor[:, None]) == pytest.approx(0.0, abs=1e-9)
    half = np.stack([factor * 1.0, (factor == 2) * 1.0], axis=1)
    known = math.log(3) / 3 + math.log(1.5) * 2 / 3
    assert mutual_information_gap(half, factor[:, None]) == pytest.approx(1 - known / math.log(3))


def test_it_is_the_mean_over_factors() -> None:
    first, second = np.arange(60) % 3, np.arange(60) // 30
    latents = np.stack([first * 1.0, second * 1.0, second * 2.0], axis=1)
    assert mutual_information_gap(latents, np.stack([first, second], axis=1)) == pytest.approx(0.5)


def test_mutual_information_is_that_of_histograms() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 7, 1009)
    latent = values + rng.normal(size=1009)
    edges = np.linspace(latent.min(), latent.max(), BINS + 1)
    bins = np.digitize(latent, edges[1:-1])
    assert mutual_information(latent, values) == pytest.approx(mutual_info_score(bins, values))
    assert mutual_information(np.full(5, 2.0), np.arange(5)) == 0


def test_a_rotation_mixes_factors() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 5, (2003, 2))
    latents = factors + 0.1 * rng.normal(size=(2003, 2))
    mixed = latents @ np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    assert mutual_information_gap(latents, factors) > 0.9
    assert mutual_information_gap(mixed, factors) < 0.2


def test_a_factor_that_never_varies() -> None:
    with pytest.raises(ValueError, match="never varies"):
        mutual_information_gap(np.zeros((5, 2)), np.ones((5, 1), int))
