"""Log-probabilities and divergences of heads: against torch.distributions, in chunks, and their gradients."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from seqgen.functional import chunked_log_probs
from seqgen.functional.chunked_log_probs import HeadInputs, head_kl, head_log_probs

N, H, V, OTHER_H = 7, 5, 11, 3


def heads():
    rng = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    first = HeadInputs(*(part.requires_grad_() for part in (draw(N, H), draw(V, H), draw(V))))
    second = HeadInputs(*(part.requires_grad_() for part in (draw(N, OTHER_H), draw(V, OTHER_H), draw(V))))
    return first, second, draw(N), torch.randint(V, (N,), generator=rng)


def distribution(head):
    return Categorical(logits=head.hidden @ head.weight.t() + head.bias)


def test_by_hand():
    # p = (1/4, 3/4), q = (1/2, 1/2): KL = 1/4 log(1/2) + 3/4 log(3/2)
    first = HeadInputs(torch.ones(1, 1), torch.tensor([[0.0], [math.log(3)]]), torch.zeros(2))
    second = HeadInputs(torch.ones(1, 1), torch.zeros(2, 1), torch.zeros(2))
    wanted = math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4
    assert head_kl(first, second).tolist() == pytest.approx([wanted], rel=1e-5)
    assert head_log_probs(first, torch.tensor([1])).tolist() == pytest.approx([math.log(3 / 4)], rel=1e-5)


@pytest.mark.parametrize("numbers", [1, 3 * V, 100 * V])
def test_chunks_of_any_size_give_the_same_and_its_gradient(numbers, monkeypatch):
    monkeypatch.setattr(chunked_log_probs, "CHUNK_NUMBERS", numbers)
    first, second, weights, targets = heads()
    p, q = distribution(first), distribution(second)
    for found, wanted in (
        (head_kl(first, second), kl_divergence(p, q)),
        (head_log_probs(first, targets), p.log_prob(targets)),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        mine, theirs = (
            torch.autograd.grad((each * weights).sum(), first, retain_graph=True) for each in (found, wanted)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_second_head_has_no_gradient():
    first, second, *_ = heads()
    gradients = torch.autograd.grad(head_kl(first, second).sum(), second, allow_unused=True)
    assert gradients == (None, None, None)


def test_bfloat16_states_give_log_probs_of_float32():
    first, _, _, targets = heads()
    low = HeadInputs(first.hidden.bfloat16(), first.weight.float(), first.bias.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head_log_probs(low, targets)
    wanted = distribution(HeadInputs(low.hidden.float(), *low[1:])).log_prob(targets)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
