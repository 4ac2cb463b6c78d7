"""Dropout of 16 bits an element: its rate and scale, its independence, its gradients, its random numbers."""

import math

import pytest
import torch

from seqgen.functional.dropout import LEVELS, Dropout, dropout

SHAPE = 101, 103, 7


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.99])
def test_the_share_dropped_is_the_rate_and_the_mean_stays(rate: float) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(SHAPE), rate)

    number = math.prod(SHAPE)
    deviation = math.sqrt(rate * (1 - rate) / number)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=4 * deviation)
    assert float(dropped.max()) == pytest.approx(1 / (1 - rate), rel=2 / LEVELS / (1 - rate))
    assert len(dropped.unique()) == 2
    assert float(dropped.mean()) == pytest.approx(1.0, abs=4 * deviation / (1 - rate))


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_elements_are_independent_of_those_of_the_same_random_number(step: int) -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(1_000_003), 0.3) > 0).double()

    together = (kept[:-step] * kept[step:]).mean()
    assert float(together) == pytest.approx(0.7**2, abs=4 * math.sqrt(0.49 * 0.51 / 1e6))


def test_draws_differ_and_a_seed_repeats_them() -> None:
    inputs = torch.ones(11, 13)
    torch.manual_seed(2)
    first, second = dropout(inputs, 0.4), dropout(inputs, 0.4)
    torch.manual_seed(2)

    assert torch.equal(dropout(inputs, 0.4), first)
    assert not torch.equal(first, second)


def test_gradients_are_scaled_where_inputs_were_kept_and_can_be_differentiated_again() -> None:
    torch.manual_seed(3)
    inputs = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    dropped = dropout(inputs, 0.5)
    (gradient,) = torch.autograd.grad(dropped.pow(3).sum(), inputs, create_graph=True)
    factor = (dropped / inputs).detach()

    torch.testing.assert_close(gradient, 3 * inputs.square() * factor**3)
    (again,) = torch.autograd.grad(gradient.sum(), inputs)
    torch.testing.assert_close(again, 6 * inputs * factor**3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_and_layouts_stay(dtype: torch.dtype) -> None:
    inputs = torch.ones(13, 17, dtype=dtype).t()
    dropped = dropout(inputs, 0.5)

    assert dropped.dtype == dtype
    assert dropped.shape == (17, 13)
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}


def test_nothing_is_dropped_at_rate_0_everything_at_1_and_nothing_outside_training() -> None:
    inputs = torch.randn(3, 5)
    layer = Dropout(0.5)

    assert torch.equal(dropout(inputs, 0.0), inputs)
    assert torch.equal(dropout(inputs, 1.0), torch.zeros(3, 5))
    assert torch.equal(layer.eval()(inputs), inputs)
    assert not torch.equal(layer.train()(inputs), inputs)
    assert dropout(torch.ones(0, 5), 0.5).shape == (0, 5)


@pytest.mark.cuda
def test_on_cuda_the_rate_holds() -> None:
    torch.manual_seed(4)
    dropped = dropout(torch.ones(SHAPE, device="cuda"), 0.25)

    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
