"""AUROC of independent groups and of pairs: by hand, against scikit-learn, coverage of the interval."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from seqgen.core.errors import UserError
from seqgen.metrics.auroc import AtThreshold, at_threshold, auroc, average_precision


def test_independent_groups_by_hand() -> None:
    # Anomalous 3 and 1, normal 2, 1, 0. 3 is above all three, 1 above one and ties with one:
    # (3 + 1.5) / 6 = 0.75.
    # Placements of the anomalous 1 and ½: variance 1/8. Of the normal ½, ¾ and 1: 1/16.
    # DeLong's standard error: √(1/8 / 2 + 1/16 / 3) = √(1/12); 0.75 ± 1.959964 · 0.288675, cut off at 1.
    normal, anomalous = np.array([2.0, 1.0, 0.0]), np.array([3.0, 1.0])
    found = auroc(normal, anomalous)
    assert found.value == pytest.approx(0.75)
    assert found.interval == (pytest.approx(0.75 - 1.959964 * (1 / 12) ** 0.5, abs=1e-6), 1.0)
    assert auroc(-normal, -anomalous).value == pytest.approx(0.25)


def test_pairs_by_hand() -> None:
    # normal 1, 2, 4, copies 3 of the first and 5 of the third: 3 is above two of three, 5 above all:
    # (2/3 + 1) / 2
    found = auroc(np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0]), np.array([0, 2]))
    assert found.value == pytest.approx(5 / 6)
    # 1 and 2 are below both copies, 4 below one; deviations from 5/6 of each normal item and of its copy:
    # (1/6)/3 + (-1/6)/2 = -1/36, (1/6)/3 = 2/36, (-1/3)/3 + (1/6)/2 = -1/36: squares 6/1296, times 3/2
    half = 1.959964 * (6 / 1296 * 1.5) ** 0.5
    assert found.interval == (pytest.approx(5 / 6 - half), pytest.approx(5 / 6 + half))
    both = np.arange(2)
    ties = auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]), both)
    assert ties.value == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0]), both).interval == (1.0, 1.0)


def test_independent_groups_are_those_of_scikit_learn_and_the_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    truth = 0.760250  # of N(1, 1) against N(0, 1): Φ(1 / √2)
    covered = 0
    for _ in range(200):
        is_anomalous = rng.random(101) < 0.3
        scores = rng.normal(size=101) + is_anomalous
        found = auroc(scores[~is_anomalous], scores[is_anomalous])
        assert found.value == pytest.approx(roc_auc_score(is_anomalous, scores), abs=1e-9)
        covered += found.interval[0] <= truth <= found.interval[1]
    assert 180 <= covered <= 199  # 95 % of 200 is 190


def test_the_interval_of_pairs_accounts_for_their_correlation() -> None:
    rng = np.random.default_rng(0)
    values, halves = [], []
    for _ in range(300):
        # a line and its copy are alike: the correlation of their scores is 0.8
        common = rng.normal(size=101)
        normal = common * 0.8**0.5 + rng.normal(size=101) * 0.2**0.5
        anomalous = common * 0.8**0.5 + rng.normal(size=101) * 0.2**0.5 + 0.5
        found = auroc(normal, anomalous, np.arange(101))
        values.append(found.value)
        halves.append((found.interval[1] - found.interval[0]) / 2)
    labels, scores = np.repeat([0, 1], 101), np.concatenate([normal, anomalous])
    assert found.value == pytest.approx(roc_auc_score(labels, scores), rel=1e-9)
    assert np.std(values) == pytest.approx(np.mean(halves) / 1.96, rel=0.15)


@pytest.mark.parametrize(("normal", "anomalous"), [(5, 0), (0, 5)])
def test_one_group_alone_has_no_area(normal: int, anomalous: int) -> None:
    with pytest.raises(UserError, match=f"normal and anomalous items; there are {normal} and {anomalous}"):
        auroc(np.arange(float(normal)), np.arange(float(anomalous)))


def test_average_precision_by_hand_and_with_ties() -> None:
    # from above: 4 anomalous, P 1, R ½; 3 normal; 2 anomalous, P ⅔, R 1: ½ · 1 + ½ · ⅔
    assert average_precision(np.array([3.0, 1.0]), np.array([4.0, 2.0])) == pytest.approx(5 / 6)
    draw = np.random.default_rng(0)
    normal, anomalous = draw.integers(0, 7, 53), draw.integers(2, 11, 31)
    truth = np.repeat([0, 1], [53, 31])
    expected = average_precision_score(truth, np.concatenate([normal, anomalous]))
    assert average_precision(normal, anomalous) == pytest.approx(expected)


def test_calls_at_a_threshold_by_hand() -> None:
    # above 2: anomalous 4 and 3 of three, normal 5 of four; 2 itself is not above
    found = at_threshold(np.array([5.0, 2.0, 1.0, 0.0]), np.array([4.0, 3.0, 2.0]), 2.0)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.false_positive_rate == pytest.approx(1 / 4)
    assert at_threshold(np.zeros(3), np.zeros(2), 1.0) == AtThreshold(0.0, 0.0, 0.0, 0.0)
