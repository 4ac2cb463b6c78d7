"""Updates of several networks, clipping, the finite check and the schedule."""

import math

import pytest
import torch
from torch import nn

from seqgen.core import optim


def test_each_loss_moves_only_its_own_network():
    first, second = nn.Linear(3, 2), nn.Linear(2, 5)
    networks = {torch.optim.SGD(m.parameters(), lr=0.1): m for m in (first, second)}
    one, two = networks
    x = torch.ones(7, 3)
    before = [p.clone() for p in second.parameters()]
    loss = second(first(x)).pow(2).mean()
    optim.update({one: loss})
    assert all(torch.equal(p, q) for p, q in zip(second.parameters(), before, strict=True))
    assert all(p.grad is None for m in (first, second) for p in m.parameters())
    moved = first.weight.clone()
    optim.update({two: second(first(x)).pow(2).mean()})
    assert torch.equal(first.weight, moved)


def test_gradients_of_all_networks_are_taken_before_any_moves():
    # loss = a·b for both: each gradient is the other's old value, so a = 2 - 3, b = 3 - 2.
    a, b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    one, two = torch.optim.SGD([a], lr=1.0), torch.optim.SGD([b], lr=1.0)
    loss = a * b
    optim.update({one: loss, two: loss})
    assert (a.item(), b.item()) == (-1.0, 1.0)


def test_clipping_bounds_the_step_and_the_norm_before_it_is_returned():
    w = nn.Parameter(torch.tensor([0.0, 0.0]))
    sgd = torch.optim.SGD([w], lr=1.0)
    norms = optim.update({sgd: 3 * w[0] + 4 * w[1]}, clip=1.0)  # the gradient is (3, 4), its norm 5
    assert norms[sgd] == pytest.approx(5.0)
    assert w.tolist() == pytest.approx([-0.6, -0.8], abs=1e-5)


def test_a_gradient_that_is_not_finite_moves_nobody():
    w, v = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    good, bad = torch.optim.SGD([w], lr=1.0), torch.optim.SGD([v], lr=1.0)
    with pytest.raises(FloatingPointError, match=r"norm is (nan|inf)"):
        optim.update({good: w * 1.0, bad: v * math.inf})
    assert (w.item(), v.item()) == (1.0, 1.0)


def test_the_schedule_rises_then_falls_to_its_floor():
    points = [optim.warmup_cosine(p, warmup=0.25, floor=0.1) for p in (0.125, 0.25, 0.625, 1.0)]
    # half way up; the top; half way down the cosine: 0.1 + 0.9 · 0.5; the floor
    assert points == pytest.approx([0.5, 1.0, 0.55, 0.1])


def test_adamw_decays_matrices_only():
    optimizer = optim.adamw(nn.Linear(3, 2), lr=1e-2, weight_decay=0.3)
    decays = {tuple(p.shape): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {(2, 3): 0.3, (2,): 0.0}
    optim.scale_lr(optimizer, 0.5)
    assert {g["lr"] for g in optimizer.param_groups} == {5e-3}


def test_a_moving_average_by_hand():
    average, module = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(2.0)
        module.weight.fill_(4.0)
    optim.update_ema(average, module, decay=0.75)
    assert average.weight.item() == pytest.approx(0.75 * 2 + 0.25 * 4)
    assert module.weight.item() == 4.0


@pytest.mark.parametrize("fused", [True, False])
def test_on_an_accelerator_an_update_that_is_not_finite_is_left_out_and_found_later(fused, monkeypatch):
    monkeypatch.setattr(optim, "is_host", lambda device: False)
    w, v = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    one, two = (torch.optim.AdamW([p], lr=0.1, weight_decay=0.0, fused=fused) for p in (w, v))
    norms = optim.update({one: w * 5, two: v * 7}, clip=3.0)
    assert [float(norms[o]) for o in (one, two)] == [5.0, 7.0]
    assert all(isinstance(norm, torch.Tensor) for norm in norms.values())
    # Adam's first step is its learning rate, whatever the gradient.
    assert (w.item(), v.item()) == (pytest.approx(1.9), pytest.approx(2.9))
    optim.check_finite([one, two])
    optim.update({one: w * 5, two: v * math.nan})
    if fused:  # nothing at all has happened; an optimiser that is not fused steps by its momentum
        assert (w.item(), v.item()) == (pytest.approx(1.9), pytest.approx(2.9))
    assert math.isfinite(w.item())
    assert math.isfinite(v.item())
    with pytest.raises(FloatingPointError, match="not finite in 1 updates"):
        optim.check_finite([one, two])


def test_networks_of_one_optimiser_have_their_own_learning_rates():
    first, second = nn.Linear(3, 2), nn.Linear(2, 5)
    for kind in ("adam", "sgd"):
        parts = [(first.parameters(), 0.1), (second.parameters(), 0.02)]
        optimizer = optim.build(kind, parts, weight_decay=0.3)
        optim.scale_lr(optimizer, 0.5)
        found = {p: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
        assert found == {
            first.weight: (0.05, 0.3),
            first.bias: (0.05, 0.0),
            second.weight: (0.01, 0.3),
            second.bias: (0.01, 0.0),
        }


def test_an_update_of_sgd_is_its_momentum_and_decay():
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    optimizer = optim.build("sgd", [(layer.parameters(), 0.1)], weight_decay=0.5, betas=(0.9, 0.0))
    # gradient 3 of the weight, plus a half of it by the decay: 2 - 0.1 · 4 = 1.6
    optim.update({optimizer: 3 * layer.weight.sum()})
    assert layer.weight.item() == pytest.approx(1.6)
    # momentum 0.9 · 4 + 3 + 0.5 · 1.6 = 7.4
    optim.update({optimizer: 3 * layer.weight.sum()})
    assert layer.weight.item() == pytest.approx(1.6 - 0.74)
