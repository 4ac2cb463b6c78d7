"""AEGAN of images: its terms and their switches, which loss reaches which network, and both cycles."""

import pytest
import torch
from image_helpers import (
    CLASSES,
    MODES,
    batch,
    build,
    changed_networks,
    near_the_modes,
    train,
    train_on_two_modes,
    weights,
)

from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.models.aegan import ImageAEGAN

LOGISTIC = gan_losses.GAN_LOSSES["logistic"]
NETS = ("encoder", "generator", "critic", "latent_critic")
SMALL = {f"{net}.hidden": 7 for net in NETS} | {"latent_dim": 3}
OFF = {"image_gan": 0.0, "latent_gan": 0.0, "image_cycle": 0.0, "latent_cycle": 0.0, "dirichlet": 0.0}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [("autoencoder", {"encoder", "generator"}), ("critic", {"critic"}), ("latent_critic", {"latent_critic"})],
)
def test_each_loss_changes_its_own_networks_alone(optimizer, expected):
    model = build(ImageAEGAN, SMALL)
    losses = model.losses
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.optimizers |= {name: model.optimizers[optimizer] for name in model.optimizers if name != optimizer}
    model.losses = lambda given: ({"autoencoder": losses(given)[0][optimizer]}, {})
    model.step(batch(), 0.0)
    assert changed_networks(model, before) == expected
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ({"image_gan": 1.0}, {"encoder", "generator", "critic"}),
        ({"latent_gan": 1.0}, {"encoder", "generator", "latent_critic"}),
        ({"image_cycle": 1.0}, {"encoder", "generator"}),
        ({"latent_cycle": 1.0}, {"encoder", "generator"}),
        ({"dirichlet": 1.0}, {"generator"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_weight_of_zero_switches_a_loss_off(on, expected):
    model = build(ImageAEGAN, SMALL | OFF | on)
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.step(batch(), 0.0)
    assert changed_networks(model, before) == expected


def test_at_least_one_loss_is_on():
    with pytest.raises(UserError, match="every loss is off"):
        build(ImageAEGAN, OFF)


def test_the_losses_by_hand():
    given = {
        "gan.r1": 0.0,
        "image_gan": 0.5,
        "latent_gan": 0.6,
        "image_cycle": 0.7,
        "latent_cycle": 0.8,
        "dirichlet": 0.0,
    }
    model, (x, labels) = build(ImageAEGAN, SMALL | given), batch()
    torch.manual_seed(3)
    losses, metrics = model.losses(Batch(x, labels))
    torch.manual_seed(3)
    z = torch.randn(5, 3)

    def generator(latents):
        return torch.sigmoid(model.generator(latents))

    def latent_critic(latents):
        return model.latent_critic(latents.view(-1, 1, 1, 3))

    encoded = model.encoder(x)
    generated, ends = generator(torch.cat([z, encoded])).chunk(2)  # normalised over both
    encoded_again = model.encoder(generated)
    image_cycle, latent_cycle = (x - ends).square().sum() / 5, (z - encoded_again).square().sum() / 5
    fakes, fake_latents = (
        model.critic(torch.cat([generated, ends])),
        latent_critic(torch.cat([encoded, encoded_again])),
    )
    expected = {
        "critic": LOGISTIC.discriminator(model.critic(x), fakes),
        "latent_critic": LOGISTIC.discriminator(latent_critic(z), fake_latents),
        "autoencoder": 0.5 * LOGISTIC.generator(x, fakes)
        + 0.6 * LOGISTIC.generator(z, fake_latents)
        + 0.7 / 2 * image_cycle
        + 0.8 / 2 * latent_cycle,
    }
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss)
    assert float(metrics["image_cycle"]) == pytest.approx(image_cycle.item(), rel=1e-5)
    assert float(metrics["latent_cycle"]) == pytest.approx(latent_cycle.item(), rel=1e-5)


def test_the_critics_learn_to_score_what_is_real_higher():
    model = build(ImageAEGAN, SMALL | {"lr": 0.0, "critic_lr": 1e-2, "gan.r1": 0.0})
    metrics = [model.step(batch(seed=1), 0.0) for _ in range(40)]
    for side in ("images", "latents"):
        assert float(metrics[-1][f"score_gap_{side}"]) > float(metrics[0][f"score_gap_{side}"]) + 0.5


def test_the_dirichlet_energy_is_that_of_the_images():
    # Pixels σ(w·z + b) have the Jacobian σ' w; many latents average the estimate's random signs out.
    model = build(ImageAEGAN, SMALL | {"generator.layers": 0, "latent_dim": 2}, shape=(1, 1, 5))
    rows = 40_000
    images = Batch(torch.rand(rows, 1, 1, 5), torch.zeros(rows, dtype=torch.long))
    torch.manual_seed(3)
    _, metrics = model.losses(images)
    torch.manual_seed(3)
    pixels = torch.sigmoid(model.generator(torch.randn(rows, 2))).flatten(1)
    jacobians = (pixels * (1 - pixels))[:, :, None] * model.generator.head.weight  # (B, 5, Z)
    exact = jacobians.square().sum(dim=(1, 2)).mean().item() / 2
    assert float(metrics["dirichlet"]) == pytest.approx(exact, rel=1e-2)


def test_evaluation_by_hand():
    model = build(ImageAEGAN, SMALL)
    train(model, steps=1)
    first, second = batch(4), batch(3, seed=2)
    report = model.evaluate([first, second])
    assert report.keys() == {"valid_squared_error", "latent_variance", "diversity"}
    images, labels = (torch.cat(parts) for parts in zip(first, second, strict=True))
    latents = model.encode(images, labels)
    variance = latents.var(dim=0, unbiased=False).mean().item()
    assert report["latent_variance"] == pytest.approx(variance, rel=1e-5)
    errors = (model.decode(latents, labels) - images).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(model.score(images, labels), errors)
    assert report["valid_squared_error"] == pytest.approx(errors.mean().item(), rel=1e-5)


def test_labels_reach_both_critics():
    model = build(ImageAEGAN, SMALL | {"conditional": True})
    train(model)
    images, labels = batch(4)
    others, row = (labels + 1) % CLASSES, torch.randn(4, 1, 1, 3)
    assert not torch.equal(model.critic(images, labels), model.critic(images, others))
    assert not torch.equal(model.latent_critic(row, labels), model.latent_critic(row, others))


def test_both_cycles_close():
    sizes = {f"{net}.hidden": 32 for net in NETS} | {"latent_dim": 1}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98, "gan.r1": 0.1, "image_cycle": 1.0}
    model = train_on_two_modes(ImageAEGAN, sizes | speed)
    assert model.score(MODES.view(2, 1, 1, 2)).max() < 0.05
    near, first = near_the_modes(model)
    assert near > 0.6
    assert 0.25 < first < 0.75
