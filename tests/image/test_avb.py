"""Adversarial variational Bayes: exact where a closed form is, each loss where it belongs, and it learns."""

import math
from pathlib import Path

import image_helpers as helpers
import pytest
import torch
from torch import Tensor

from seqgen.algorithms.adversarial_bayes import update_critic
from seqgen.functional.implicit_posterior import (
    MAX_QUADRATIC,
    critic_warning,
    gaussian_reference,
    implicit_posterior,
)
from seqgen.image.data.dataset import Batch
from seqgen.image.models.avb import AVB, AVBConfig
from seqgen.image.networks.networks import NetConfig
from seqgen.image.runs import load, setup

SMALL = {"net.hidden": 13, "critic.hidden": 11, "critic.draws": 2, "latent_dim": 5, "noise_dim": 2}
SHAPE = (1, 7, 11)


def model(**values: object) -> AVB:
    return helpers.build(AVB, SMALL | values, shape=SHAPE)


def batch(n: int = 5) -> Batch:
    return helpers.batch(n, shape=SHAPE)


def linear_gaussian() -> tuple[AVB, Tensor, Tensor]:
    """x = W z + b + noise with its exact posterior; also images and their log p(x), of N(b, W Wᵀ + σ² I).

    The posterior of two dimensions has the covariance C = (I + Wᵀ W / σ²)⁻¹ = diag(own) + a aᵀ.
    """
    config = AVBConfig(net=NetConfig(layers=0), latent_dim=2, noise_dim=1, likelihood="gaussian", sigma=0.5)
    torch.manual_seed(0)
    avb = AVB(config, shape=(1, 1, 7), classes=0)
    weight, bias = 0.4 * torch.randn(7, 2), torch.rand(7)
    covariance = torch.linalg.inv(torch.eye(2) + weight.T @ weight / 0.25)
    to_mean = covariance @ weight.T / 0.25
    cross = covariance[0, 1]
    a = torch.stack([cross.abs().sqrt(), cross.abs().sqrt() * cross.sign()])
    own = covariance.diagonal() - a.square()
    assert (own > 0.01).all()
    loadings = a / own.sqrt()  # relative to a 1 of the independent noise
    with torch.no_grad():
        avb.decoder.head.weight.copy_(weight)
        avb.decoder.head.bias.copy_(bias)
        avb.encoder.head.weight.zero_()
        avb.encoder.head.weight[:2] = to_mean
        avb.encoder.head.bias.copy_(torch.cat([-to_mean @ bias, covariance.diagonal().log()]))
        avb.loadings.weight.zero_()
        avb.loadings.bias.copy_(
            torch.stack([loadings, torch.zeros(2)], dim=1).flatten()
        )  # of ε, of its square
    images = torch.rand(3, 1, 1, 7)
    marginal = torch.distributions.MultivariateNormal(bias, weight @ weight.T + 0.25 * torch.eye(7))
    return avb, images, marginal.log_prob(images.flatten(1))


def test_the_likelihood_of_a_linear_gaussian_model_is_exact() -> None:
    # every importance weight is p(x) where the proposal is the posterior
    avb, images, exact = linear_gaussian()
    torch.testing.assert_close(avb.log_likelihood(images, samples=3), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_quadratic_loadings_are_bounded_by_the_independent_noise(size: float) -> None:
    rng = torch.Generator().manual_seed(2)
    raw_loadings = size * torch.randn(7, 5 * 2 * 3, generator=rng)
    posterior = implicit_posterior(torch.zeros(7, 11), torch.zeros(7, 2 * 5), raw_loadings)
    linear, quadratic = posterior.loadings.split([3, 3], dim=2)
    ratio = quadratic.square().sum(dim=2).sqrt() / posterior.independent
    assert (ratio < MAX_QUADRATIC * (1 + 1e-5)).all()
    raw = raw_loadings.unflatten(1, (5, 6))[..., 3:].square().sum(dim=2).sqrt()
    torch.testing.assert_close(
        ratio, raw / (1 + raw.square() / MAX_QUADRATIC**2).sqrt(), rtol=1e-4, atol=1e-6
    )
    variance = posterior.independent.square() + linear.square().sum(dim=2) + quadratic.square().sum(dim=2)
    torch.testing.assert_close(variance, torch.ones(7, 5), rtol=1e-5, atol=1e-5)


def test_the_adversarial_bound_of_an_exact_posterior_is_the_likelihood() -> None:
    # An untrained critic scores 0, which is right for a Gaussian: the bound is tight on average.
    avb, images, exact = linear_gaussian()
    torch.nn.init.zeros_(avb.critic.body[-1].bias)
    many = Batch(images.repeat(20_011, 1, 1, 1), torch.full((3 * 20_011,), -1))
    bounds = avb.adversarial_bound(many).unflatten(0, (20_011, 3))
    torch.testing.assert_close(bounds.mean(dim=0), exact, rtol=1e-2, atol=0)


def test_the_critics_score_is_part_of_the_bound() -> None:
    # T = 0.7 for every latent: the bound falls by as much
    avb, images, _ = linear_gaussian()
    bounds = []
    for score in (0.0, 0.7):
        torch.nn.init.constant_(avb.critic.body[-1].bias, score)
        torch.manual_seed(3)
        bounds.append(avb.adversarial_bound(Batch(images, torch.full((3,), -1))))
    torch.testing.assert_close(bounds[0] - bounds[1], torch.full((3,), 0.7))


@pytest.mark.parametrize("contrast", ["none", "diagonal", "full"])
def test_the_critics_loss_changes_the_critic_alone(contrast: str) -> None:
    avb = model(contrast=contrast)
    avb.step(batch(), 0.0)  # the first update of an untrained critic changes its last layer alone
    before = {name: weight.clone() for name, weight in avb.state_dict().items()}
    posterior = avb.implicit_posterior(*batch())
    reference = gaussian_reference(posterior, contrast)
    update_critic(avb.critic, avb.config.critic, avb.optimizers["critic"], posterior, reference)
    changed = {name for name, weight in avb.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith("critic.")}
    assert all(parameter.grad is None for parameter in avb.parameters())


def test_the_critic_teaches_the_encoder_and_only_through_latents_the_decoder() -> None:
    # The same step with a critic of score 0 and with another: the latents, and so the decoder, are the same.
    after = []
    for spread in (0.0, 3.0):
        avb = model(**{"critic.lr": 0.0})
        torch.nn.init.normal_(avb.critic.body[-1].weight, std=spread)
        torch.manual_seed(2)
        avb.step(batch(), 0.0)
        after.append(avb.state_dict())
    same = {name for name, weight in after[0].items() if torch.equal(weight, after[1][name])}
    assert not same & {"encoder.body.0.0.weight", "loadings.weight"}
    assert {name for name in after[0] if name.startswith("decoder.")} <= same


def test_the_reported_loss_is_the_sum_of_its_parts() -> None:
    metrics = model().step(batch(), 0.0)
    assert metrics["kl"] == pytest.approx(float(metrics["loss"] - metrics["reconstruction"]), abs=1e-3)


def test_the_bound_reported_is_that_of_every_image() -> None:
    avb = model()
    torch.manual_seed(5)
    bounds = avb.evaluate([batch(7)])
    torch.manual_seed(5)
    assert bounds["valid_bound"] == pytest.approx(-float(avb.adversarial_bound(batch(7)).mean()))


def test_the_gradient_of_encoder_and_decoder_is_bounded() -> None:
    avb = model(likelihood="gaussian", sigma=1e-3)  # a pixel's error has the gradient error / σ²
    networks = [avb.encoder, avb.loadings, avb.decoder]
    parameters = [parameter for network in networks for parameter in network.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    avb.optimizers["model"] = torch.optim.SGD([{"params": parameters, "initial_lr": 1e-5}], lr=1e-5)
    assert avb.step(batch(), 0.0)["grad_norm"] > 2000
    changes = [parameter.detach() - old for parameter, old in zip(parameters, before, strict=True)]
    norm = torch.stack([change.norm() for change in changes]).norm()
    assert float(norm) == pytest.approx(1e-5 * 1000, rel=1e-2)


def test_numbers_that_run_off_stop_training() -> None:
    avb = model()
    with torch.no_grad():
        avb.encoder.head.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="gradient's norm is nan"):
        avb.step(batch(), 0.0)


def test_it_learns_digits(tmp_path: Path) -> None:
    # over seeds 0, 1, 2 the NLL falls from 44.2 … 45.0 to 26.6 … 27.1
    values = SMALL | {"epochs": 8, "net.hidden": 64, "lr": 5e-3}
    run = setup.train("avb", "digits", run=tmp_path, values=values, device="cpu")
    rows = run.metrics()
    assert rows[-1]["valid_nll"] < rows[0]["valid_nll"] - 15
    assert load.load(run, "cpu").model.sample(2).shape == (2, 1, 8, 8)


def test_the_weight_of_the_adversarial_part_reaches_encoder_and_decoder_alone() -> None:
    losses, critics = {}, {}
    for weight in (0.0, 1.0, 2.0):
        avb = model(adversarial_weight=weight)
        with torch.no_grad():
            avb.critic.body[-1].weight.fill_(0.3)
        torch.manual_seed(7)
        metrics = avb.step(batch(), 0.0)
        losses[weight] = metrics["loss"].item()
        critics[weight] = helpers.weights(avb.critic)
        assert metrics["kl"].item() != pytest.approx(metrics["contrast"].item())
        # without its weight: the part itself is what the weight multiplies
        assert losses[weight] - metrics["reconstruction"].item() == pytest.approx(
            metrics["kl"].item() + (weight - 1) * metrics["contrast"].item(), abs=1e-3
        )
    assert losses[1.0] - losses[0.0] == pytest.approx(losses[2.0] - losses[1.0], abs=1e-3)
    assert losses[1.0] != pytest.approx(losses[0.0], abs=0.1)
    for one, other in zip(critics[0.0], critics[2.0], strict=True):
        assert torch.equal(one, other)


def test_a_critic_that_underestimates_the_divergence_is_warned_of() -> None:
    avb = model(contrast="none", noise_dim=3)
    with torch.no_grad():
        avb.encoder.head.bias[:5] = 2.0  # means: a divergence of 2 nats a dimension, of which no critic knows
    report = avb.evaluate([batch()])
    assert abs(report["valid_kl"]) < 1
    remark = avb.remark(report)
    assert (
        f"{report['valid_kl']:.2f} nats, and at least {report['valid_kl_least']:.2f} by nested Monte Carlo"
        in remark
    )
    assert 6 < report["valid_kl_least"] < 14
    by_critic, bounds = avb.check_critic(batch(), draws=101, inner=11)
    assert by_critic.shape == (5,)
    torch.testing.assert_close(bounds.least.mean().item(), report["valid_kl_least"], rtol=0.1, atol=0.0)
    assert (bounds.least <= bounds.most).all()
    # with the posterior's own moments the closed form knows of the means
    other = model(contrast="full", noise_dim=3)
    other.load_state_dict(avb.state_dict())
    assert other.remark(other.evaluate([batch()])) is None


@pytest.mark.parametrize(
    ("by_critic", "least", "is_warned"),
    [(3.31, 7.75, True), (7.0, 7.4, False), (95.1, 100.0, False), (94.9, 100.0, True), (8.0, 7.0, False)],
)
def test_a_warning_needs_a_clear_difference(by_critic: float, least: float, is_warned: bool) -> None:
    assert (critic_warning(by_critic, least) is not None) == is_warned
