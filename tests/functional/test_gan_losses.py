"""GAN losses by hand, penalties against closed forms and exact Jacobians."""

import math

import pytest
import torch
from torch import nn

from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.functional.gan_losses import GAN_LOSSES, accuracy, cross_entropy, gan_loss

REAL = torch.tensor([2.0, -1.0])
FAKE = torch.tensor([0.0, 3.0, -2.0])


def softplus(x):
    return math.log(1 + math.exp(x))


def logit(probability):
    return math.log(probability / (1 - probability))


# Scores 2, -1 of real samples and 0, 3, -2 of fake ones; the partners of the real ones are 0 and 3.
DISCRIMINATOR = {
    "cross_entropy": ((softplus(-2) + softplus(1)) / 2 + (softplus(0) + softplus(3) + softplus(-2)) / 3) / 2,
    "logistic": (softplus(-2) + softplus(1)) / 2 + (softplus(0) + softplus(3) + softplus(-2)) / 3,
    "least_squares": ((1 + 4) / 2 + (0 + 9 + 4) / 3) / 2,  # (2-1)², (-1-1)²; 0², 3², 2²
    "hinge": (0 + 2) / 2 + (1 + 4 + 0) / 3,  # 1-2 < 0, 1+1; 1+0, 1+3, 1-2 < 0
    "wasserstein": 1 / 3 - 1 / 2,
    # energies softplus(-s): of the real ones 0.127 and 1.313, of the fake ones 0.693, 0.049 and 2.127 > 1
    "energy": (softplus(-2) + softplus(1)) / 2 + (1 - softplus(0) + 1 - softplus(-3) + 0) / 3,
    "relativistic": (softplus(0 - 2) + softplus(3 + 1)) / 2,
    # the means are ½ of the real scores and ⅓ of the fake ones
    "relativistic_average": (softplus(1 / 3 - 2) + softplus(1 / 3 + 1)) / 4
    + (softplus(0 - 0.5) + softplus(3 - 0.5) + softplus(-2 - 0.5)) / 6,
}
GENERATOR = {
    "cross_entropy": (softplus(0) + softplus(-3) + softplus(2)) / 3,
    "logistic": (softplus(0) + softplus(-3) + softplus(2)) / 3,
    "least_squares": (1 + 4 + 9) / 3 / 2,
    "hinge": -1 / 3,
    "wasserstein": -1 / 3,
    "energy": (softplus(0) + softplus(-3) + softplus(2)) / 3,
    "relativistic": (softplus(2 - 0) + softplus(-1 - 3)) / 2,
    "relativistic_average": (softplus(0.5 - 0) + softplus(0.5 - 3) + softplus(0.5 + 2)) / 6
    + (softplus(2 - 1 / 3) + softplus(-1 - 1 / 3)) / 4,
}
every = pytest.mark.parametrize("name", GAN_LOSSES)


@every
def test_losses_by_hand(name):
    loss = gan_loss(name)
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(DISCRIMINATOR[name], rel=1e-6)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(GENERATOR[name], rel=1e-6)


@pytest.mark.parametrize("margin", [0.5, 1.5])
def test_the_margin_of_energies_by_hand(margin):
    loss = gan_losses.energy(margin)
    fake = [max(0.0, margin - softplus(-score)) for score in FAKE.tolist()]
    wanted = (softplus(-2) + softplus(1)) / 2 + sum(fake) / 3
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(wanted, rel=1e-6)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(GENERATOR["energy"], rel=1e-6)
    assert gan_losses.energy_of(torch.tensor([-1.0])).item() == pytest.approx(softplus(1), rel=1e-6)


@every
def test_labels_are_the_right_way_round(name):
    # The discriminator's loss falls as real samples score higher and fake ones lower, the generator's as fake
    # ones score higher; and a higher score is never rewarded less.
    loss = gan_loss(name)
    real, fake = (torch.full((2,), 0.1, requires_grad=True) for _ in range(2))
    on_real, on_fake = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    (generated,) = torch.autograd.grad(loss.generator(real, fake), fake)
    assert (on_real < 0).all()
    assert (on_fake > 0).all()
    assert (generated < 0).all()
    assert (loss.reward(torch.tensor([-9.0, 0.25, 0.75, 9.0])).diff() > 0).all()


def test_losses_by_chance():
    chance = {"cross_entropy": math.log(2), "logistic": 2 * math.log(2), "relativistic": math.log(2)}
    for name, value in chance.items():
        assert gan_loss(name).discriminator(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(value)
    half = torch.full((3,), 0.5)
    assert gan_loss("least_squares").discriminator(half, half).item() == pytest.approx(0.25)


def test_cross_entropy_and_its_smoothing_by_hand():
    on_real = torch.tensor([logit(0.6), logit(0.4)])
    on_fake = torch.tensor([logit(0.25), logit(0.1), logit(0.7)])
    real = -(math.log(0.6) + math.log(0.4)) / 2
    fake = -(math.log(0.75) + math.log(0.9) + math.log(0.3)) / 3
    assert cross_entropy(on_real, on_fake).item() == pytest.approx((real + fake) / 2, rel=1e-5)
    # smoothing moves the labels of real samples only
    real = -sum(0.9 * math.log(p) + 0.1 * math.log(1 - p) for p in (0.6, 0.4)) / 2
    assert cross_entropy(on_real, on_fake, smoothing=0.1).item() == pytest.approx((real + fake) / 2, rel=1e-5)


def test_the_relativistic_loss_knows_differences_only_and_pairs_as_far_as_there_are_both():
    loss = gan_loss("relativistic")
    for function in (loss.discriminator, loss.generator):
        assert function(REAL + 5, FAKE + 5).item() == pytest.approx(function(REAL, FAKE).item(), rel=1e-5)
        assert torch.equal(function(REAL, FAKE), function(REAL, FAKE[:2]))
        assert torch.equal(function(REAL, FAKE[:1]), function(REAL[:1], FAKE[:1]))
    swapped = loss.generator(FAKE[:2], REAL)
    assert torch.equal(loss.discriminator(REAL, FAKE[:2]), swapped)


def test_accuracy_weighs_real_and_fake_half_each_and_counts_the_threshold_as_wrong():
    # 1 of 2 real above 0, 1 of 3 fake below it: 0 itself is neither
    assert accuracy(REAL, FAKE).item() == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert accuracy(torch.zeros(2), torch.zeros(3)).item() == 0
    least_squares = gan_loss("least_squares")
    found = accuracy(
        torch.tensor([0.75, 0.25]), torch.tensor([0.5, -1.0, 0.25]), threshold=least_squares.threshold
    )
    assert found.item() == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert not accuracy(REAL.clone().requires_grad_(), FAKE).requires_grad


def test_rewards_by_hand():
    given = torch.tensor([-0.5, 0.25, 1.5])
    assert gan_loss("least_squares").reward(given).tolist() == [0.0, 0.25, 1.0]
    assert gan_loss("cross_entropy").reward(torch.tensor(logit(0.3))).item() == pytest.approx(0.3)
    assert torch.equal(gan_loss("relativistic").reward(given), given)
    assert gan_loss("energy").reward(given).tolist() == pytest.approx(
        [-softplus(0.5), -softplus(-0.25), -softplus(-1.5)]
    )


def test_an_unknown_loss_names_the_nearest():
    with pytest.raises(UserError, match="no GAN loss 'hing'; did you mean 'hinge'"):
        gan_loss("hing")


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


def test_pairs_of_different_types_meet_in_the_wider_one():
    """As under autocast, where embeddings that were looked up are wider than those that were mixed."""
    real, fake = images(0), images(1)
    seen = []

    def critic(x):
        seen.append(x.dtype)
        return x.flatten(1).sum(dim=1)

    gan_losses.gradient_penalty(critic, real, fake.bfloat16())
    gan_losses.gradient_penalty(critic, real.bfloat16(), fake)
    assert seen == [torch.float32] * 2


def test_pairs_of_different_shapes():
    _, critic = linear_critic(1.0)
    with pytest.raises(ValueError, match="pairs need one shape"):
        gan_losses.gradient_penalty(critic, images(0, rows=5), images(1, rows=1))


def curved(latents):
    """(B, 3) → (B, 2, 5), each row a function of its own latent alone."""
    rng = torch.Generator().manual_seed(8)
    first, second = torch.randn(3, 7, generator=rng), torch.randn(7, 10, generator=rng)
    return (torch.tanh(latents @ first) @ second).unflatten(1, (2, 5))


def exact_energy(function, latents):
    jacobians = [torch.autograd.functional.jacobian(function, latent[None]) for latent in latents]
    return sum(j.square().sum() for j in jacobians) / len(latents) / 2


def test_dirichlet_energy_against_the_exact_jacobian():
    latents = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(2)
    exact = exact_energy(curved, latents).item()
    many = latents.repeat(20_000, 1)  # each with a probe of its own
    assert gan_losses.dirichlet_energy(curved, many, rng=rng).item() == pytest.approx(exact, rel=1e-2)
    one, same = (
        gan_losses.dirichlet_energy(curved, latents, rng=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one, same)
    # K probes average: the variance falls to a K-th.
    few, more = (
        torch.stack([gan_losses.dirichlet_energy(curved, latents, probes=k, rng=rng) for _ in range(200)])
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
