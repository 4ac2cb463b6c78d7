"""Losses of critics by hand, penalties against closed forms and exact Jacobians."""

import math

import pytest
import torch
from torch import nn

from seqgen.core.errors import UserError
from seqgen.functional import gan_losses

REAL = torch.tensor([2.0, -1.0])
FAKE = torch.tensor([0.0, 3.0, -2.0])


def softplus(x):
    return math.log(1 + math.exp(x))


# Scores 2, -1 of real samples and 0, 3, -2 of made ones.
CRITIC = {
    "logistic": (softplus(-2) + softplus(1)) / 2 + (softplus(0) + softplus(3) + softplus(-2)) / 3,
    "least_squares": ((1 + 4) / 2 + (0 + 9 + 4) / 3) / 2,  # (2-1)², (-1-1)²; 0², 3², 2²
    "hinge": (0 + 2) / 2 + (1 + 4 + 0) / 3,  # 1-2 < 0, 1+1; 1+0, 1+3, 1-2 < 0
    "wasserstein": 1 / 3 - 1 / 2,
    "energy": 1 / 2 + (1.5 + 0 + 3.5) / 3,  # margin 1.5: 1.5-0, 1.5-3 < 0, 1.5+2
}
GENERATOR = {
    "logistic": (softplus(0) + softplus(-3) + softplus(2)) / 3,
    "least_squares": (1 + 4 + 9) / 3 / 2,
    "hinge": -1 / 3,
    "wasserstein": -1 / 3,
    "energy": 1 / 3,
}


@pytest.mark.parametrize("kind", gan_losses.KINDS)
def test_losses_by_hand(kind):
    assert gan_losses.critic_loss(kind, REAL, FAKE, margin=1.5).item() == pytest.approx(
        CRITIC[kind], rel=1e-6
    )
    assert gan_losses.generator_loss(kind, FAKE).item() == pytest.approx(GENERATOR[kind], rel=1e-6)


@pytest.mark.parametrize("kind", gan_losses.KINDS)
def test_labels_are_the_right_way_round(kind):
    # The critic's loss falls as real samples look more real, the generator's as made ones do.
    up = -1.0 if kind == "energy" else 1.0
    real, fake = (torch.full((2,), 0.1, requires_grad=True) for _ in range(2))
    (on_real, on_fake) = torch.autograd.grad(gan_losses.critic_loss(kind, real, fake), (real, fake))
    (made,) = torch.autograd.grad(gan_losses.generator_loss(kind, fake), fake)
    assert (on_real * up < 0).all()
    assert (on_fake * up > 0).all()
    assert (made * up < 0).all()


def test_the_logistic_loss_by_chance():
    chance = gan_losses.critic_loss("logistic", torch.zeros(3), torch.zeros(5))
    assert chance.item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_an_unknown_kind():
    for call in (
        lambda: gan_losses.critic_loss("hing", REAL, FAKE),
        lambda: gan_losses.generator_loss("hing", FAKE),
    ):
        with pytest.raises(UserError, match="no loss 'hing' of a critic; did you mean 'hinge'"):
            call()


def images(seed, rows=5):
    return torch.randn(rows, 2, 3, 7, generator=torch.Generator().manual_seed(seed))


def linear_critic(norm):
    weight = torch.randn(2 * 3 * 7, generator=torch.Generator().manual_seed(3))
    weight = (weight / weight.norm() * norm).requires_grad_()
    return weight, lambda x: x.flatten(1) @ weight


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_penalties_of_a_linear_critic(norm):
    weight, critic = linear_critic(norm)
    # The slope is w everywhere: (‖w‖ - 1)² and ½ ‖w‖².
    penalty = gan_losses.gradient_penalty(critic, images(0), images(1))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-6)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * (norm - 1) * weight.detach() / norm, rtol=1e-4, atol=1e-6)
    r1 = gan_losses.zero_centred_penalty(critic, images(0))
    assert r1.item() == pytest.approx(norm**2 / 2, rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(r1, weight)[0], weight.detach(), rtol=1e-5, atol=1e-6)


def test_the_penalty_is_taken_between_the_pairs_one_share_each():
    # D(x) = ½ ‖x‖² has slope x, so the norms are those of the points: real 0, fake of norm 4, ε in (0, 1).
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).square().sum(1) / 2

    fake = torch.zeros(11, 2, 3).index_fill(2, torch.tensor([1]), 4.0 / math.sqrt(2))
    penalty = gan_losses.gradient_penalty(
        critic, torch.zeros_like(fake), fake, rng=torch.Generator().manual_seed(0)
    )
    norms = seen[0].flatten(1).norm(dim=1)
    assert len(norms.unique()) == 11
    assert (norms > 0).all()
    assert (norms < 4).all()
    assert penalty.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)
    again = gan_losses.gradient_penalty(
        critic, torch.zeros_like(fake), fake, rng=torch.Generator().manual_seed(0)
    )
    assert torch.equal(penalty, again)


def test_a_critic_without_slope_has_a_finite_gradient():
    weight = torch.zeros(2 * 3 * 7, requires_grad=True)
    penalty = gan_losses.gradient_penalty(lambda x: x.flatten(1) @ weight, images(0), images(1))
    assert penalty.item() == pytest.approx(1.0)
    assert torch.autograd.grad(penalty, weight)[0].isfinite().all()


def test_penalties_reach_the_critic_alone():
    maker, critic = nn.Linear(3, 7), nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1))
    fake, real = maker(torch.ones(5, 3)), torch.ones(5, 7, requires_grad=True)
    loss = gan_losses.gradient_penalty(critic, real, fake) + gan_losses.zero_centred_penalty(critic, real)
    loss.backward()
    assert critic[0].weight.grad is not None
    assert maker.weight.grad is None
    assert real.grad is None


def test_pairs_of_different_shapes():
    _, critic = linear_critic(1.0)
    with pytest.raises(ValueError, match="pairs need one shape"):
        gan_losses.gradient_penalty(critic, images(0, rows=5), images(1, rows=1))


def curved(codes):
    """(B, 3) → (B, 2, 5), each row a function of its own code alone."""
    rng = torch.Generator().manual_seed(8)
    first, second = torch.randn(3, 7, generator=rng), torch.randn(7, 10, generator=rng)
    return (torch.tanh(codes @ first) @ second).unflatten(1, (2, 5))


def exact_energy(function, codes):
    jacobians = [torch.autograd.functional.jacobian(function, code[None]) for code in codes]
    return sum(j.square().sum() for j in jacobians) / len(codes) / 2


def test_dirichlet_energy_against_the_exact_jacobian():
    codes = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(2)
    exact = exact_energy(curved, codes).item()
    many = codes.repeat(20_000, 1)  # each with a probe of its own
    assert gan_losses.dirichlet_energy(curved, many, rng=rng).item() == pytest.approx(exact, rel=1e-2)
    one, same = (
        gan_losses.dirichlet_energy(curved, codes, rng=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one, same)
    # K probes average: the variance falls to a K-th.
    few, more = (
        torch.stack([gan_losses.dirichlet_energy(curved, codes, probes=k, rng=rng) for _ in range(200)])
        for k in (1, 13)
    )
    assert more.mean().item() == pytest.approx(exact, abs=4 * more.std().item() / math.sqrt(200))
    assert more.var().item() < few.var().item() / 8


def test_dirichlet_energy_of_one_output_is_exact_and_moves_the_function():
    # With one output v² = 1, so the estimate has no noise: f = w·z gives ½ ‖w‖², whose slope is w.
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    energy = gan_losses.dirichlet_energy(lambda z: (z @ weight)[:, None], torch.randn(5, 3))
    assert energy.item() == pytest.approx(7.0)
    (gradient,) = torch.autograd.grad(energy, weight)
    assert gradient.tolist() == pytest.approx([1.0, -2.0, 3.0])


def test_feature_distance_by_hand():
    # rows (1, 2) - (0, 0) and (3, 0) - (3, 4): ½ (5 + 16) / 2
    first, second = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert gan_losses.feature_distance(first, second).item() == pytest.approx(5.25)


@pytest.mark.cuda
def test_penalties_draw_on_the_device():
    critic = nn.Linear(7, 1).cuda()
    rng = torch.Generator("cuda").manual_seed(0)
    real, fake = torch.randn(5, 7, device="cuda"), torch.randn(5, 7, device="cuda")
    penalty = gan_losses.gradient_penalty(critic, real, fake, rng=rng)
    energy = gan_losses.dirichlet_energy(critic, real, rng=rng)
    assert penalty.item() == pytest.approx((critic.weight.norm().item() - 1) ** 2, abs=1e-4)
    assert energy.item() == pytest.approx(critic.weight.square().sum().item() / 2, rel=1e-4)
