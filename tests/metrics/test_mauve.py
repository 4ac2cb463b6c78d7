"""MAUVE: the frontier by hand, equal and disjoint texts, groups."""

import math

import numpy as np
import pytest

from seqgen.metrics.mauve import MIXTURES, SENTENCES, _evenly, frontier_area, mauve


def test_the_area_of_equal_and_of_disjoint_histograms():
    p = np.array([0.25, 0.5, 0.25])
    assert frontier_area(p, p) == pytest.approx(1.0)
    # Of disjoint ones the points are (1 - w)^5, w^5 with the area ∫ w^5 5 (1 - w)^4 dw = 5 B(6, 5) = 1 / 252.
    disjoint = frontier_area(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert disjoint == pytest.approx(1 / 252, rel=0.05)


def test_the_area_by_another_integration():
    # Under a curve (x(w), y(w)) the area is -∫ y dx, here by 200,000 mixtures; 25 are within a percent of it.
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.3, 0.3, 0.4])
    w = np.linspace(0, 1, 200_001)[1:-1, None]
    r = w * p + (1 - w) * q
    x, y = (np.exp(-5 * (h * np.log(h / r)).sum(axis=1)) for h in (q, p))
    exact = float((-(y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
    exact += float(x[-1] * 1.0)  # from x = 0 up to the first point, where y is 1
    assert frontier_area(p, q) == pytest.approx(exact, rel=0.01)
    assert frontier_area(p, q) == pytest.approx(frontier_area(q, p))
    assert MIXTURES == 25


def test_the_area_is_that_of_the_package_mauve_text():
    # Of these histograms `get_divergence_curve_for_multinomials` of mauve-text 0.4.0 and its mean of both
    # orders give this value.
    p, q = np.array([0.41, 0.29, 0.13, 0.17, 0.0]), np.array([0.07, 0.23, 0.0, 0.31, 0.39])
    assert frontier_area(p, q) == pytest.approx(0.19952271688467654, rel=1e-12)


def test_texts_of_one_distribution_are_near_1_and_fall_with_their_distance():
    rng = np.random.default_rng(0)
    real, same = rng.standard_normal((2, 1009, 7)) + 1
    found = [mauve(same + np.r_[shift, np.zeros(6)], real)[0] for shift in (0.0, 1.0, 3.0)]
    assert found[0] > 0.9
    assert found[0] > found[1] + 0.1
    assert found[1] > found[2] + 0.1
    assert mauve(real, real)[0] == pytest.approx(1.0)


def test_groups_leave_out_their_sentences():
    rng = np.random.default_rng(1)
    real = rng.standard_normal((211, 5))
    text = np.concatenate([real[:101], real[:53] + 20])
    groups = np.repeat([0, 1], [101, 53])
    whole, without_real, without_far = mauve(text, real, groups)
    assert without_far > whole > without_real
    assert math.isclose(mauve(text, real)[0], whole)


def test_few_equal_or_blank_sentences():
    assert mauve(np.zeros((3, 1)), np.zeros((2, 1)))[0] == pytest.approx(1.0)
    assert 0 <= mauve(np.eye(3), np.ones((2, 3)))[0] <= 1


def test_many_sentences_are_thinned_evenly():
    assert _evenly(7).tolist() == list(range(7))
    rows = _evenly(3 * SENTENCES)
    assert len(rows) == SENTENCES
    assert (rows[0], rows[-1]) == (0, 3 * SENTENCES - 1)
    assert set(np.diff(rows)) <= {2, 3, 4}
