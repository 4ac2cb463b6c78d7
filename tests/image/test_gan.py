"""GAN: which update reaches which network, the terms of its losses, and learning two modes."""

import pytest
import torch
from image_helpers import (
    SHAPE,
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

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.models.gan import GAN

LOGISTIC = gan_losses.GAN_LOSSES["logistic"]
SMALL = {"generator.hidden": 7, "critic.hidden": 13, "latent_dim": 3}


def test_the_penalties_are_metrics_where_they_are_on():
    for loss, penalty in (("logistic", "r1"), ("wasserstein", "gradient_penalty")):
        metrics = train(build(GAN, SMALL | {"gan.loss": loss}), steps=1)[0]
        assert {"r1", "gradient_penalty"} & metrics.keys() == {penalty}


def test_collapse_stops_training():
    model = build(GAN, SMALL)
    report = model.evaluate([batch(4), batch(3, seed=2)])
    assert report.keys() == {"valid_score_gap", "diversity"}
    assert float(model.highest_diversity) == pytest.approx(report["diversity"])
    assert model.should_stop({"diversity": 0.09 * report["diversity"]}, report) is None  # it has hardly begun
    model.highest_diversity.fill_(0.5)
    assert "collapsed" in (model.should_stop({"diversity": 0.045}, report) or "")
    assert torch.equal(model.samples(7), model.samples(7))


def test_learning_rates_end_at_a_tenth():
    model = build(GAN, SMALL | {"lr": 0.01})
    assert model.step(batch(), 1.0)["lr"] == pytest.approx(0.001)


def test_the_moving_average_counts_its_updates():
    model = build(GAN, SMALL)
    (ema,) = (network.head.bias.clone() for network in model.ema.values())
    for step, decay in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13)):  # (1 + n) / (10 + n) of n updates
        model.step(batch(seed=step), 0.0)
        ema = decay * ema + (1 - decay) * model.generator.head.bias.detach()
        torch.testing.assert_close(model.ema["generator"].head.bias, ema)


def test_bounds_of_settings():
    with pytest.raises(UserError, match="critic_steps=0 is out of range"):
        build(GAN, {"critic_steps": 0})
    with pytest.raises(UserError, match="batch_size=1 is out of range"):
        build(GAN, {"batch_size": 1})
    with pytest.raises(UserError, match="normalise=batch mixes"):
        build(GAN, {"gan.loss": "wasserstein", "critic.normalise": "batch"})


@pytest.mark.parametrize(("images", "epochs"), [(1_000, 200), (57_000, 26), (10_000_000, 15)])
def test_epochs_are_fitted_to_the_number_of_images(images, epochs):
    assert GAN.Config().fitted([None] * images).epochs == epochs
    assert settings.override(GAN.Config(), {"epochs": 2}).fitted([None] * images).epochs == 2


def test_a_generator_with_fewer_updates_gets_more_epochs():
    wasserstein = settings.override(GAN.Config(), {"gan.loss": "wasserstein"})
    assert wasserstein.read_size == 5 * 64
    assert wasserstein.fitted([None] * 57_000).epochs == 3 * 26
    assert settings.override(wasserstein, {"critic_steps": 1}).fitted([None] * 57_000).epochs == 26


def test_the_first_updates_are_the_critics_alone(monkeypatch):
    model = build(GAN, SMALL | {"critic_steps": 3})
    changed = []
    update = optim.update

    def record(losses, **options):
        before = {"generator": weights(model.generator), "critic": weights(model.critic)}
        norms = update(losses, **options)
        changed.append(changed_networks(model, before))
        return norms

    monkeypatch.setattr(optim, "update", record)
    model.step(batch(15), 0.0)
    assert changed == [{"critic"}, {"critic"}, {"critic", "generator"}]


@pytest.mark.parametrize("images", [2, 3, 4, 6, 9, 11, 14])
def test_with_fewer_images_than_a_step_reads_every_update_has_a_full_batch(monkeypatch, images):
    model = build(GAN, SMALL | {"critic_steps": 3, "generator.normalise": "batch"})
    read = []
    critic_loss = model._critic_loss
    monkeypatch.setattr(
        model, "_critic_loss", lambda real, fake: (read.append(real), critic_loss(real, fake))[1]
    )
    given = batch(images)
    model.step(given, 0.0)  # one image left over would end in batch normalisation
    assert [len(part.images) for part in read] == [min(5, images)] * 3
    rows = torch.cat([part.images for part in read])
    expected = torch.arange(len(rows)) % images
    assert torch.equal(rows, given.images[expected])
    assert torch.equal(torch.cat([part.labels for part in read]), given.labels[expected])


def test_both_networks_follow_the_gradients_of_their_own_losses():
    model = build(GAN, SMALL | {"ema_decay": 0.0, "gan.r1": 0.0})
    real = batch()
    torch.manual_seed(3)
    latents = torch.randn(5, 3)
    fake = torch.sigmoid(model.generator(latents))
    d_loss = LOGISTIC.discriminator(model.critic(real.images)[:, 0], model.critic(fake)[:, 0])
    g_loss = LOGISTIC.generator(real.images, model.critic(fake)[:, 0])
    expected = {
        "critic": torch.autograd.grad(d_loss, list(model.critic.parameters()), retain_graph=True),
        "generator": torch.autograd.grad(g_loss, list(model.generator.parameters())),
    }
    metrics = check_gradient_steps(model, expected, real, seed=3)
    assert float(metrics["d_loss"]) == pytest.approx(d_loss.item(), rel=1e-5)
    assert float(metrics["g_loss"]) == pytest.approx(g_loss.item(), rel=1e-5)
    assert same(model.ema["generator"], weights(model.generator))


def test_the_l1_term_is_a_pixels_distance_to_unrelated_images():
    torch.manual_seed(0)
    losses = []
    for weight in (0.0, 2.0):
        model = build(GAN, SMALL | {"l1": weight})
        with torch.no_grad():
            for parameter in model.generator.parameters():
                parameter.zero_()  # every pixel ½
        losses.append(float(model.step(Batch(torch.full((5, *SHAPE), 0.9), torch.zeros(5)), 0.0)["g_loss"]))
    assert losses[1] - losses[0] == pytest.approx(2 * 0.4, rel=1e-4)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "values", [{"gan.r1": 0.1}, {"gan.loss": "wasserstein", "gan.gradient_penalty": 1.0}]
)
def test_learns_both_of_two_modes(values, seed):
    sizes = {"generator.hidden": 32, "critic.hidden": 32, "latent_dim": 2}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98}
    near, first = near_the_modes(train_on_two_modes(GAN, sizes | speed | values, seed=seed))
    assert near > 0.7
    assert 0.25 < first < 0.75
