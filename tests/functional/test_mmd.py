"""The maximum mean discrepancy: by hand, its invariances, its gradient."""

import math

import pytest
import torch

from seqgen.functional.mmd import WIDTHS, squared_mmd

N, M, F = 7, 5, 3


def vectors(rows, seed=0, shift=0.0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rows, F, generator=rng, dtype=torch.float64) + shift


def test_by_hand():
    # Points 0 and 2: squared distance 4 in half of the four pairs, 2 in the mean; k = mean exp(-4 / (2 w 2))
    kernel = sum(math.exp(-1 / width) for width in WIDTHS) / len(WIDTHS)
    found = squared_mmd(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    assert found.item() == pytest.approx(1 + 1 - 2 * kernel, rel=1e-5)


def test_against_a_loop():
    x, y = vectors(N), vectors(M, seed=1, shift=0.5)
    both = torch.cat((x, y))
    mean = sum(float((a - b).square().sum()) for a in both for b in both) / (N + M) ** 2

    def k(a, b):
        return sum(math.exp(-float((a - b).square().sum()) / (2 * w * mean)) for w in WIDTHS) / len(WIDTHS)

    wanted = (
        sum(k(a, b) for a in x for b in x) / N**2
        + sum(k(a, b) for a in y for b in y) / M**2
        - 2 * sum(k(a, b) for a in x for b in y) / (N * M)
    )
    assert squared_mmd(x, y).item() == pytest.approx(wanted, rel=1e-9)


def test_scale_and_order_change_nothing_and_equal_batches_have_none():
    x, y = vectors(N), vectors(M, seed=1)
    found = squared_mmd(x, y).item()
    assert squared_mmd(100 * x.flip(0), 100 * y).item() == pytest.approx(found, rel=1e-9)
    assert squared_mmd(y, x).item() == pytest.approx(found, rel=1e-9)
    assert squared_mmd(x, x).item() == pytest.approx(0.0, abs=1e-12)
    assert squared_mmd(x, vectors(M, seed=1, shift=9.0)).item() > 10 * found


def test_the_gradient_moves_one_batch_towards_the_other():
    x, y = vectors(N), vectors(M, seed=1, shift=1.0)
    y.requires_grad_()
    (gradient,) = torch.autograd.grad(squared_mmd(x, y), y)
    assert (gradient.mean(dim=0) > 0).all()
    # Through the kernels' widths there is none: else a common factor of all vectors would change nothing.
    both = torch.autograd.grad(squared_mmd(x.requires_grad_(), y), (x, y))
    assert abs(((both[0] * x).sum() + (both[1] * y).sum()).item()) > 0.01


def test_vectors_that_are_all_alike():
    torch.set_flush_denormal(True)  # as every training does
    same = torch.ones(3, 2, requires_grad=True)
    found = squared_mmd(same, torch.ones(5, 2))
    assert found.item() == 0.0
    assert torch.equal(torch.autograd.grad(found, same)[0], torch.zeros(3, 2))


def test_bfloat16_takes_products_in_float32():
    x, y = vectors(N, shift=50.0).float(), vectors(M, seed=1, shift=50.0).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = squared_mmd(x, y)
    assert found.item() == pytest.approx(squared_mmd(x, y).item(), rel=1e-6)
