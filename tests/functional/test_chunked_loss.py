"""The chunked head: cross-entropy and its gradients to rounding, whatever the chunks."""

import math

import pytest
import torch
import torch.nn.functional as F

from seqgen.functional import chunked_loss, vocab_projection
from seqgen.functional.chunked_loss import head_loss

N, H, V = 13, 5, 37


def parts(dtype=torch.float32, scale=1.0):
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, H, generator=rng, dtype=torch.float64) * scale
    weight = torch.randn(V, H, generator=rng, dtype=torch.float64)
    bias = torch.randn(V, generator=rng, dtype=torch.float64)
    leaves = [part.to(dtype).requires_grad_() for part in (hidden, weight, bias)]
    targets = torch.randint(V, (N,), generator=rng)
    weights = torch.randn(N, generator=rng, dtype=torch.float64).to(dtype)
    return leaves, targets, weights


@pytest.fixture(
    params=[(4, 64), (4, 0), (128, 64), (None, 64)],
    ids=["chunks", "chunks of wide states", "one chunk", "few tokens"],
    autouse=True,
)
def rows(request, monkeypatch):
    rows, narrow = request.param
    monkeypatch.setattr(chunked_loss, "chunk_rows", lambda vocab_size, device: rows or 128)
    monkeypatch.setattr(chunked_loss, "FEW", math.inf if rows is None else 0)
    monkeypatch.setattr(vocab_projection, "NARROW", narrow)


def reference(leaves, targets, weights, entropy_weights=None):
    hidden, weight, bias = leaves
    logits = hidden @ weight.t() + bias
    loss = (weights * F.cross_entropy(logits, targets, reduction="none")).sum()
    if entropy_weights is not None:
        loss = loss - (entropy_weights * torch.distributions.Categorical(logits=logits).entropy()).sum()
    return loss


def test_two_tokens_by_hand():
    # One state of 1, logits 0 and log 3: p = (1/4, 3/4).
    weight = torch.tensor([[0.0], [math.log(3)]], requires_grad=True)
    loss, nll, entropy = head_loss(
        torch.ones(1, 1), weight, torch.zeros(2), torch.tensor([0]), torch.tensor([2.0])
    )
    assert loss.item() == pytest.approx(2 * math.log(4), rel=1e-6)
    assert nll.tolist() == pytest.approx([math.log(4)], rel=1e-6)
    assert entropy is None
    loss.backward()
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == pytest.approx([2 * (1 / 4 - 1), 2 * 3 / 4], rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["usual", "logits beyond exp's range"])
@pytest.mark.parametrize("entropy", [False, True], ids=["", "entropy"])
def test_equals_cross_entropy_and_its_gradients(scale, entropy):
    leaves, targets, weights = parts(scale=scale)
    bonus = torch.linspace(0, 0.7, N) if entropy else None
    assert (weights < 0).any()
    ours = head_loss(*leaves, targets, weights, bonus).loss
    expected = reference(leaves, targets, weights, bonus)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
    gradients = torch.autograd.grad(3 * ours, leaves)
    for gradient, wanted in zip(gradients, torch.autograd.grad(3 * expected, leaves), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("entropy", [False, True], ids=["", "entropy"])
def test_gradients_in_float64(entropy):
    leaves, targets, weights = parts(torch.float64)
    bonus = torch.linspace(0, 0.7, N, dtype=torch.float64) if entropy else None
    assert torch.autograd.gradcheck(lambda *p: head_loss(*p, targets, weights, bonus).loss, leaves)


def test_rows_are_reported_without_gradient():
    leaves, targets, weights = parts()
    loss, nll, entropy = head_loss(*leaves, targets, weights, torch.zeros(N))
    logits = leaves[0] @ leaves[1].t() + leaves[2]
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="none").detach())
    assert entropy is not None
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits).entropy().detach())
    assert loss.requires_grad
    assert not nll.requires_grad
    assert not entropy.requires_grad


def test_impossible_targets_cost_what_their_logits_say():
    hidden, weight = torch.ones(2, 1), torch.tensor([[0.0], [-1e4], [0.0]])
    nll = head_loss(hidden, weight, torch.zeros(3), torch.tensor([1, 0]), torch.ones(2)).nll
    assert nll.tolist() == pytest.approx([1e4 + math.log(2), math.log(2)], rel=1e-6)


def test_weight_zero_rows_leave_everything_untouched():
    leaves, targets, weights = parts()
    padded = leaves[0].detach().clone()
    weights[7:], padded[7:] = 0, 3.0
    whole = torch.autograd.grad(head_loss(*leaves, targets, weights).loss, leaves[1:])
    other = torch.autograd.grad(head_loss(padded, *leaves[1:], targets, weights).loss, leaves[1:])
    short = head_loss(padded[:7], *leaves[1:], targets[:7], weights[:7]).loss
    for a, b, c in zip(whole, other, torch.autograd.grad(short, leaves[1:]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-6)


def test_no_rows():
    leaves, targets, weights = parts()
    loss, nll, _ = head_loss(leaves[0][:0], *leaves[1:], targets[:0], weights[:0])
    assert loss.item() == 0
    assert nll.shape == (0,)
    loss.backward()
    assert leaves[1].grad is not None
    assert (leaves[1].grad == 0).all()


def test_without_onednn(monkeypatch):
    leaves, targets, weights = parts()
    expected = torch.autograd.grad(head_loss(*leaves, targets, weights).loss, leaves)
    monkeypatch.setattr(vocab_projection, "_has_onednn", lambda: False)
    plain = torch.autograd.grad(head_loss(*leaves, targets, weights).loss, leaves)
    for a, b in zip(plain, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_broken_weights_give_nan():
    leaves, targets, weights = parts()
    loss = head_loss(leaves[0] * math.nan, *leaves[1:], targets, weights).loss
    assert torch.isnan(loss)


def test_bfloat16_states_give_float32_losses():
    leaves, targets, weights = parts()
    low = leaves[0].detach().bfloat16().requires_grad_()
    loss, nll, _ = head_loss(low, *leaves[1:], targets, weights)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, head_loss(*leaves, targets, weights).nll, rtol=1e-2, atol=1e-1)
    gradients = torch.autograd.grad(loss, [low, *leaves[1:]])
    expected = torch.autograd.grad(reference(leaves, targets, weights), leaves)
    assert [g.dtype for g in gradients] == [torch.bfloat16, torch.float32, torch.float32]
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert float(F.cosine_similarity(gradient.float().flatten(), wanted.flatten(), dim=0)) > 0.999


def test_no_gradient_work_where_none_is_wanted(monkeypatch):
    leaves, targets, weights = parts()
    monkeypatch.setattr(chunked_loss, "FEW", 0)
    monkeypatch.delattr(chunked_loss, "_Gradients")
    with torch.no_grad():
        head_loss(*leaves, targets, weights)
    head_loss(*(leaf.detach() for leaf in leaves), targets, weights)
    with pytest.raises(NameError, match="_Gradients"):
        head_loss(*leaves, targets, weights)


@pytest.mark.cuda
@pytest.mark.parametrize("entropy", [False, True], ids=["", "entropy"])
def test_cuda_equals_cpu(entropy):
    leaves, targets, weights = parts()
    bonus = torch.linspace(0, 0.7, N) if entropy else None
    expected = head_loss(*leaves, targets, weights, bonus)
    there = [leaf.detach().cuda().requires_grad_() for leaf in leaves]
    ours = head_loss(*there, targets.cuda(), weights.cuda(), None if bonus is None else bonus.cuda())
    torch.testing.assert_close(ours.loss.cpu(), expected.loss, rtol=1e-3, atol=1e-3)
    gradients = torch.autograd.grad(ours.loss, there)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected.loss, leaves), strict=True):
        torch.testing.assert_close(gradient.cpu(), wanted, rtol=1e-3, atol=1e-3)


def test_real_rows_are_those_of_the_mask_or_all_with_the_same_loss(shapes):
    hidden, weight, bias = (torch.randn(*shape) for shape in ((3, 5, 7), (11, 7), (11,)))
    tokens = torch.randint(11, (3, 5))
    mask = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    states, targets, weights = chunked_loss.real_rows(mask, hidden, tokens, mask / mask.sum())
    assert len(states) == len(targets) == (8 if shapes == "compacted" else 15)
    expected = F.cross_entropy(F.linear(hidden, weight, bias)[mask], tokens[mask])
    found = head_loss(states, weight, bias, targets, weights).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
