"""Temperature scaling by a loss whose optimum is known."""

import math

import pytest

from seqgen.models.calibration import calibrate, one_by_one
from seqgen.models.vocab_head import VocabHead

V, H = 7, 3


def test_the_vertex_of_a_parabola_is_found_and_partly_gone_to():
    head = VocabHead(H, V)
    # least at a temperature of e^0.05
    loss = lambda: (-math.log(float(head.scale)) - 0.05) ** 2  # noqa: E731
    losses = one_by_one(head, loss)
    assert calibrate(head, losses, fraction=1.0) == pytest.approx(math.exp(0.05), rel=1e-5)
    assert float(head.scale) == pytest.approx(math.exp(-0.05), rel=1e-5)
    assert calibrate(head, losses, fraction=0.5) == pytest.approx(math.exp(0.025), rel=1e-5)


def test_it_stays_near_one_and_asks_for_a_minimum():
    head = VocabHead(H, V)
    steep = lambda: (-math.log(float(head.scale)) + 3.0) ** 2  # noqa: E731
    assert calibrate(head, one_by_one(head, steep), fraction=1.0) == pytest.approx(math.exp(-0.2))
    falling = lambda: float(head.scale)  # noqa: E731  (convex in the logarithm, vertex at minus infinity)
    assert calibrate(head, one_by_one(head, lambda: -falling()), fraction=1.0) == 1.0
    assert calibrate(head, lambda scales: [0.0 for _ in scales], fraction=1.0) == 1.0
    assert float(head.scale) == 1.0


def test_a_fraction_of_nothing_measures_nothing():
    head = VocabHead(H, V)
    head.scale.fill_(0.9)
    assert calibrate(head, lambda scales: pytest.fail("measured"), fraction=0.0) == 1.0
    assert float(head.scale) == 1.0
