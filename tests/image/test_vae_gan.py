"""VAE-GAN: that each loss reaches its own network alone, its terms, and learning two modes."""

import pytest
import torch
from image_helpers import (
    CLASSES,
    MODES,
    batch,
    build,
    changed_networks,
    check_gradient_steps,
    near_the_modes,
    same,
    train,
    train_on_two_modes,
    weights,
)

from seqgen.functional import gan_losses, gaussian
from seqgen.image.data.dataset import Batch
from seqgen.image.models.vae_gan import VAEGAN

LOGISTIC = gan_losses.GAN_LOSSES["logistic"]
NETS = ("encoder", "decoder", "critic")
SMALL = {f"{net}.hidden": 7 for net in NETS} | {"latent_dim": 3}


@pytest.mark.parametrize("network", NETS)
def test_each_loss_changes_its_own_network_alone(network):
    """The critic's loss also fills the decoder's gradient in other packages: +0.2 of it instead of -0.8."""
    model = build(VAEGAN, SMALL)
    losses = model.losses
    model.losses = lambda given: ({network: losses(given)[0][network]}, {})
    model.main_optimizer = network
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.step(batch(), 0.0)
    assert changed_networks(model, before) == {network}
    assert all(p.grad is None for p in model.parameters())


def test_the_networks_follow_the_gradients_of_their_own_losses():
    model = build(VAEGAN, SMALL | {"ema_decay": 0.0})
    torch.manual_seed(3)
    losses, _ = model.losses(batch())
    expected = {
        name: torch.autograd.grad(losses[name], list(getattr(model, name).parameters()), retain_graph=True)
        for name in NETS
    }
    check_gradient_steps(model, expected, batch(), seed=3)
    assert same(model.ema["encoder"], weights(model.encoder))
    assert same(model.ema["decoder"], weights(model.decoder))


def test_the_losses_are_those_of_the_paper():
    given = {"gan.r1": 0.0, "beta": 0.7, "feature_weight": 2.0, "pixel_weight": 3.0, "gamma": 0.4}
    model, (images, labels) = build(VAEGAN, SMALL | given), batch()
    torch.manual_seed(3)
    losses, metrics = model.losses(Batch(images, labels))
    torch.manual_seed(3)
    mean, log_var = model.encoder(images).chunk(2, dim=1)
    latents = torch.cat([gaussian.sample(mean, log_var), torch.randn(5, 3)])
    reconstructed, generated = torch.sigmoid(model.decoder(latents)).split([5, 5])
    real, fake = model.critic(images)[:, 0], model.critic(torch.cat([reconstructed, generated]))[:, 0]
    prior = torch.distributions.Normal(0, 1)
    kl = (
        torch.distributions.kl_divergence(torch.distributions.Normal(mean, (log_var / 2).exp()), prior).sum()
        / 5
    )
    distance = (model.critic.features(reconstructed) - model.critic.features(images)).square().sum() / 5 / 2
    error = (reconstructed - images).square().sum() / 5
    reconstruction = 2 * distance + 3 * error / 2
    torch.testing.assert_close(losses["encoder"], 0.7 * kl + reconstruction)
    torch.testing.assert_close(losses["decoder"], 0.4 * reconstruction + LOGISTIC.generator(real, fake))
    torch.testing.assert_close(losses["critic"], LOGISTIC.discriminator(real, fake))
    assert float(metrics["kl"]) == pytest.approx(kl.item(), rel=1e-5)
    assert float(metrics["feature_distance"]) == pytest.approx(distance.item(), rel=1e-5)
    assert float(metrics["squared_error"]) == pytest.approx(error.item(), rel=1e-5)


def test_evaluation_by_hand():
    model = build(VAEGAN, SMALL)
    train(model, steps=1)
    first, second = batch(4), batch(3, seed=2)
    report = model.evaluate([first, second])
    assert report.keys() == {"valid_kl", "valid_squared_error", "diversity"}
    images, labels = (torch.cat(parts) for parts in zip(first, second, strict=True))
    errors = (model.reconstruct(images, labels) - images).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(model.score(images, labels), errors)
    assert report["valid_squared_error"] == pytest.approx(errors.mean().item(), rel=1e-5)


def test_labels_reach_the_critic():
    model = build(VAEGAN, SMALL | {"conditional": True})
    train(model)
    images, labels = batch(4)
    assert not torch.equal(model.critic(images, labels), model.critic(images, (labels + 1) % CLASSES))


def test_learns_to_reconstruct_and_to_generate_both_of_two_modes():
    sizes = {f"{net}.hidden": 32 for net in NETS} | {"latent_dim": 2, "pixel_weight": 1.0}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98, "beta": 0.01, "gan.r1": 0.1}
    model = train_on_two_modes(VAEGAN, sizes | speed)
    assert model.score(MODES.view(2, 1, 1, 2)).max() < 0.05
    near, first = near_the_modes(model)
    assert near > 0.7
    assert 0.25 < first < 0.75
