"""VAE-GAN: the contract, that each loss reaches its own network alone, and its terms."""

import math

import pytest
import torch

from seqgen.core import settings
from seqgen.functional import gan_losses, gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.vae_gan import VAEGAN

SHAPE, CLASSES = (2, 9, 11), 3
SMALL = {
    f"{net}.{size}": n
    for net in ("encoder", "decoder", "critic")
    for size, n in (("hidden", 7), ("channels", 3))
}
CONV = {f"{net}.kind": "conv" for net in ("encoder", "decoder", "critic")}
DENSE = {f"{net}.kind": "dense" for net in ("encoder", "decoder", "critic")}
VARIANTS = [
    CONV,
    DENSE | {"gan.loss": "least_squares", "pixels": 1.0},
    CONV | {"gan.loss": "wasserstein", "conditional": True},
    DENSE | {"gan.loss": "hinge", "gan.r1": 1.0, "features": 0.0, "pixels": 0.5},
]
NETS = ("encoder", "decoder", "critic")


def build(values=None, seed=0, shape=SHAPE):
    torch.manual_seed(seed)
    given = SMALL | {"batch_size": 5, "latent_dim": 3} | (values or {})
    model = VAEGAN(settings.override(VAEGAN.Config(), given), shape=shape, classes=CLASSES)
    model.configure()
    return model


def batch(rows=5, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(rows, *SHAPE, generator=rng), torch.randint(CLASSES, (rows,), generator=rng))


def run(model, steps=3, rows=5):
    torch.manual_seed(5)
    return [model.step(batch(rows, seed=i), i / steps) for i in range(steps)]


def weights(module):
    return [p.clone() for p in module.parameters()]


def same(module, before):
    return all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("values", VARIANTS)
def test_figures_are_finite_and_every_parameter_moves(values):
    model = build(values)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for figures in run(model):
        assert all(math.isfinite(float(value)) for value in figures.values()), figures
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    # What is added to every score alike cancels from these losses.
    assert still == ({"critic.head.bias"} if values.get("gan.loss") in ("hinge", "wasserstein") else set())


@pytest.mark.parametrize("values", VARIANTS)
def test_same_seed_same_weights_and_state_round_trip(values):
    one, two, other = build(values), build(values), build(values, seed=9)
    run(one)
    run(two)
    other.load_state_dict(one.state_dict())
    assert same(one, weights(two))
    assert same(other, weights(one))


@pytest.mark.parametrize("mover", NETS)
def test_each_loss_moves_its_own_network_alone(mover):
    """The critic's loss also fills the decoder's gradient in other packages: +0.2 of it instead of -0.8."""
    model = build()
    losses = model.losses
    model.losses = lambda given: ({mover: losses(given)[0][mover]}, {})
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.step(batch(), 0.0)
    moved = {name for name in NETS if not same(getattr(model, name), before[name])}
    assert moved == {mover}
    assert all(p.grad is None for p in model.parameters())


def test_the_networks_move_by_the_gradients_of_their_own_losses():
    model, lr = build({"ema_decay": 0.0}), 0.1
    torch.manual_seed(3)
    losses, _ = model.losses(batch())
    wanted = {
        name: torch.autograd.grad(losses[name], list(getattr(model, name).parameters()), retain_graph=True)
        for name in NETS
    }
    old = {name: weights(getattr(model, name)) for name in NETS}
    model.optimizers = {
        name: torch.optim.SGD([{"params": list(getattr(model, name).parameters()), "initial_lr": lr}], lr=lr)
        for name in NETS
    }
    torch.manual_seed(3)
    model.step(batch(), 0.0)
    for name, gradients in wanted.items():
        for now, before, gradient in zip(
            getattr(model, name).parameters(), old[name], gradients, strict=True
        ):
            torch.testing.assert_close(now, before - lr * gradient)
    assert same(model.average[0], weights(model.encoder))
    assert same(model.average[1], weights(model.decoder))


def test_the_losses_are_those_of_the_paper():
    given = {"gan.r1": 0.0, "beta": 0.7, "features": 2.0, "pixels": 3.0, "gamma": 0.4}
    model, (images, labels) = build(given), batch()
    torch.manual_seed(3)
    losses, figures = model.losses(Batch(images, labels))
    torch.manual_seed(3)
    mean, log_var = model.encoder(images).chunk(2, dim=1)
    latents = torch.cat([gaussian.draw(mean, log_var), torch.randn(5, 3)])
    reconstructed, made = torch.sigmoid(model.decoder(latents)).split([5, 5])
    real, fake = model.critic(images)[:, 0], model.critic(torch.cat([reconstructed, made]))[:, 0]
    prior = torch.distributions.Normal(0, 1)
    kl = (
        torch.distributions.kl_divergence(torch.distributions.Normal(mean, (log_var / 2).exp()), prior).sum()
        / 5
    )
    distance = (model.critic.features(reconstructed) - model.critic.features(images)).square().sum() / 5 / 2
    error = (reconstructed - images).square().sum() / 5
    likeness = 2 * distance + 3 * error / 2
    torch.testing.assert_close(losses["encoder"], 0.7 * kl + likeness)
    torch.testing.assert_close(
        losses["decoder"], 0.4 * likeness + gan_losses.generator_loss("logistic", fake)
    )
    torch.testing.assert_close(losses["critic"], LOGISTIC.discriminator(real, fake))
    assert float(metrics["kl"]) == pytest.approx(kl.item(), rel=1e-5)
    assert float(metrics["features"]) == pytest.approx(distance.item(), rel=1e-5)
    assert float(metrics["error"]) == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.parametrize("values", VARIANTS)
def test_evaluation_codes_and_samples(values):
    model = build(values)
    run(model, steps=1)
    first, second = batch(4), batch(3, seed=2)
    figures = model.evaluate([first, second])
    assert figures.keys() == {"valid_kl", "valid_squared_error", "diversity"}
    images, labels = (torch.cat(parts) for parts in zip(first, second, strict=True))
    latents = model.encode(images, labels)
    assert latents.shape == (7, 3)
    reconstructed = model.decode(latents, labels)
    torch.testing.assert_close(reconstructed, model.reconstruct(images, labels))
    errors = (reconstructed - images).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(model.score(images, labels), errors)
    assert metrics["valid_squared_error"] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert torch.equal(model.samples(5), model.samples(5))
    drawn = model.sample(5, rng=torch.Generator().manual_seed(2))
    assert drawn.shape == (5, *SHAPE)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert model.should_stop(figures, figures) is None
    assert "collapsed" in (model.should_stop({"diversity": 0.09 * metrics["diversity"]}, figures) or "")


def test_a_batch_of_one_image():
    alone = run(build({"decoder.normalise": "none"}), rows=1)
    assert all(math.isfinite(float(value)) for figures in alone for value in figures.values())


def test_every_setting_has_a_help_text():
    assert all(text for _, _, _, text in settings.describe(VAEGAN.Config))


def test_labels_reach_all_three_networks():
    model = build({"conditional": True})
    run(model)
    images, labels = batch(4)
    others = (labels + 1) % CLASSES
    latents = torch.randn(4, 3)
    assert not torch.equal(model.decode(latents, labels), model.decode(latents, others))
    assert not torch.equal(model.encode(images, labels), model.encode(images, others))
    assert not torch.equal(model.critic(images, labels), model.critic(images, others))


def test_learns_to_rebuild_and_to_make_both_of_two_modes():
    """Two pixels, (0.1, 0.9) or (0.9, 0.1), with noise of 0.03."""
    modes = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    sizes = {f"{net}.hidden": 32 for net in NETS}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98, "beta": 0.01, "gan.r1": 0.1}
    torch.manual_seed(0)
    config = settings.override(VAEGAN.Config(), DENSE | sizes | speed | {"latent_dim": 2, "pixels": 1.0})
    model = VAEGAN(config, shape=(1, 1, 2), classes=0)
    model.configure()
    for i in range(300):
        pixels = modes[torch.randint(2, (64,))] + 0.03 * torch.randn(64, 2)
        model.step(Batch(pixels.view(64, 1, 1, 2), torch.zeros(64)), i / 300)
    assert model.score(modes.view(2, 1, 1, 2)).max() < 0.05
    distances = (model.sample(1000).view(1000, 1, 2) - modes).norm(dim=2)
    near = (distances.min(dim=1).values < 0.15).float().mean()
    first = (distances[:, 0] < distances[:, 1]).float().mean()
    assert near > 0.7
    assert 0.25 < first < 0.75
