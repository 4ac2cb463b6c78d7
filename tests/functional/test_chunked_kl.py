"""The divergence of two heads: against torch.distributions, in chunks, and its gradient."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from seqgen.functional import chunked_kl
from seqgen.functional.chunked_kl import HeadInputs, head_kl

N, H, V, OTHER_H = 7, 5, 11, 3


def heads():
    rng = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    first = HeadInputs(*(part.requires_grad_() for part in (draw(N, H), draw(V, H), draw(V))))
    second = HeadInputs(*(part.requires_grad_() for part in (draw(N, OTHER_H), draw(V, OTHER_H), draw(V))))
    return first, second, draw(N)


def test_by_hand():
    # p = (1/4, 3/4), q = (1/2, 1/2): KL = 1/4 log(1/2) + 3/4 log(3/2); weight 2
    first = HeadInputs(torch.ones(1, 1), torch.tensor([[0.0], [math.log(3)]]), torch.zeros(2))
    second = HeadInputs(torch.ones(1, 1), torch.zeros(2, 1), torch.zeros(2))
    wanted = 2 * (math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4)
    assert head_kl(first, second, torch.tensor([2.0])).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("numbers", [1, 3 * V, 100 * V])
def test_chunks_of_any_size_give_the_divergence_and_its_gradient(numbers, monkeypatch):
    monkeypatch.setattr(chunked_kl, "CHUNK_NUMBERS", numbers)
    first, second, weights = heads()
    p, q = (Categorical(logits=each.hidden @ each.weight.t() + each.bias) for each in (first, second))
    wanted = (kl_divergence(p, q) * weights).sum()
    found = head_kl(first, second, weights)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    gradients = torch.autograd.grad(found, first)
    for mine, theirs in zip(gradients, torch.autograd.grad(wanted, first), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_second_head_has_no_gradient():
    first, second, weights = heads()
    gradients = torch.autograd.grad(head_kl(first, second, weights), second, allow_unused=True)
    assert gradients == (None, None, None)
