"""Divergences against enumeration over all outcomes."""

import math

import pytest
import torch

from seqgen.metrics import divergences
from seqgen.metrics.divergences import Densities

P, Q = (torch.tensor(x, dtype=torch.float64) for x in ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]))


def draws(p: torch.Tensor, q: torch.Tensor) -> Densities:
    """As many draws of each outcome as its probability says: the estimates are then exact."""
    of_p, of_q = (torch.repeat_interleave(torch.arange(3), (10 * x).round().long()) for x in (p, q))
    return Densities(p.log()[of_p], q.log()[of_p], p.log()[of_q], q.log()[of_q])


def test_the_estimates_are_those_of_enumeration():
    d = draws(P, Q)
    forward, reverse = float((P * (P / Q).log()).sum()), float((Q * (Q / P).log()).sum())
    m = (P + Q) / 2
    js = float((P * (P / m).log()).sum() + (Q * (Q / m).log()).sum()) / 2
    assert divergences.forward_kl(d).mean == pytest.approx(forward, rel=1e-9)
    assert divergences.reverse_kl(d).mean == pytest.approx(reverse, rel=1e-9)
    assert divergences.jeffreys(d).mean == pytest.approx(forward + reverse, rel=1e-9)
    assert divergences.jensen_shannon(d).mean == pytest.approx(js, rel=1e-9)


def test_standard_errors_by_hand():
    # 1, 3: mean 2, standard deviation √2, error √2 / √2 = 1; two tokens a sentence halve both.
    assert divergences.mean(torch.tensor([1.0, 3.0])) == (2.0, pytest.approx(1.0))
    assert divergences.mean(torch.tensor([1.0, 3.0])).over(2) == (1.0, pytest.approx(0.5))
    one, other = torch.tensor([1.0, 3.0]), torch.zeros(2)
    d = Densities(one, other, other, torch.tensor([2.0, 6.0]))
    # KL(p ‖ q) is 2 ± 1, KL(q ‖ p) is 4 ± 2
    assert divergences.jeffreys(d) == (6.0, pytest.approx(math.sqrt(5)))


def test_what_the_model_misses_makes_the_divergence_infinite_but_not_jensen_shannon():
    d = draws(torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.5, 0.0, 0.5]).double())
    assert divergences.forward_kl(d).mean == math.inf
    assert divergences.reverse_kl(d).mean == math.inf
    assert math.isnan(divergences.forward_kl(d).error)
    # half of either mass is shared, the rest contributes log 2: ½ log 2
    assert divergences.jensen_shannon(d).mean == pytest.approx(math.log(2) / 2, rel=1e-9)


def test_equal_distributions_and_disjoint_ones():
    assert divergences.jensen_shannon(draws(P, P)).mean == pytest.approx(0, abs=1e-12)
    same = divergences.forward_kl(draws(P, P))
    assert same == (0.0, 0.0)
    far = Densities(*(torch.tensor([x, x]) for x in (-1.0, -900.0, -900.0, -1.0)))
    assert divergences.jensen_shannon(far).mean == pytest.approx(math.log(2), rel=1e-9)
