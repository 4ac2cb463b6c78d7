"""Autoencoders: the sparse penalty by hand, noise, the Gaussian of latents, labels, and that each learns."""

import math
from dataclasses import replace

import pytest
import torch
from torch import distributions

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Batch, ImageBatches, in_order, open_images
from seqgen.image.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    DenoisingAutoencoder,
    SparseAutoencoder,
    sparsity_penalty,
)
from seqgen.image.networks.networks import NetConfig

B, Z, CLASSES = 3, 2, 7
SHAPE = (1, 5, 11)
SMALL = NetConfig(hidden=13, layers=1)


def make(cls=Autoencoder, shape=SHAPE, **options):
    torch.manual_seed(3)
    options = {"net": SMALL, "latent_dim": Z, "epochs": 1} | options
    model = cls(cls.Config(**options), shape=shape, classes=CLASSES)
    model.configure()
    return model


def batch(n=B, shape=SHAPE):
    rng = torch.Generator().manual_seed(5)
    return Batch(torch.rand(n, *shape, generator=rng), torch.arange(n) % CLASSES)


def test_the_sparse_penalty_by_hand():
    # ρ = ¼: at ½ it is ¼ log ½ + ¾ log (¾ / ½) = -0.1733 + 0.3041; at ¼ it is 0
    assert float(sparsity_penalty(torch.tensor([0.5, 0.25]), 0.25)) == pytest.approx(0.1308, abs=1e-4)
    rates = torch.rand(Z + 3)
    divergence = distributions.kl_divergence(distributions.Bernoulli(0.05), distributions.Bernoulli(rates))
    torch.testing.assert_close(sparsity_penalty(rates, 0.05), divergence.sum())
    assert math.isfinite(float(sparsity_penalty(torch.tensor([0.0, 1.0]), 0.05)))


def test_the_loss_is_the_summed_squared_error_of_an_image():
    model, data = make(), batch()
    reconstructed = torch.sigmoid(model.decoder(model.encoder(data.images)))
    expected = (reconstructed - data.images).square().sum() / B
    torch.testing.assert_close(model.step(data, 0.0)["loss"], expected.detach())


def test_a_sparse_code_is_penalised_for_its_rate():
    model, data = make(SparseAutoencoder, sparsity=2.0, rate=0.1), batch()
    latents = torch.sigmoid(model.encoder(data.images))
    torch.testing.assert_close(model.encode(data.images), latents)
    figures = model.step(data, 0.0)
    torch.testing.assert_close(metrics["penalty"], sparsity_penalty(latents.mean(dim=0), 0.1).detach())
    torch.testing.assert_close(metrics["loss"], metrics["reconstruction"] + 2.0 * metrics["penalty"])


def test_noise_has_its_deviation_and_is_clipped():
    model = make(DenoisingAutoencoder)
    grey = torch.full((B, 1, 97, 101), 0.5)
    noisy = model.corrupt(grey, torch.Generator().manual_seed(5))
    # N(½, 0.3²) clipped at ±1⅔ deviations: standard deviation 0.3 · √(1 - …) = 0.2701
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.2701, abs=0.005)
    assert (float(noisy.min()), float(noisy.max())) == (0.0, 1.0)
    assert make().corrupt(grey) is grey


def test_a_denoising_model_reads_noise_and_is_asked_for_the_clean_image():
    model, data = make(DenoisingAutoencoder), batch()
    torch.manual_seed(11)
    noisy = model.corrupt(data.images)
    expected = (torch.sigmoid(model.decoder(model.encoder(noisy))) - data.images).square().sum() / B
    torch.manual_seed(11)
    torch.testing.assert_close(model.step(data, 0.0)["loss"], expected.detach())


def test_images_are_read_as_they_are_when_asked_for():
    model, data = make(DenoisingAutoencoder), batch()
    assert torch.equal(model.reconstruct(data.images), model.reconstruct(data.images))
    torch.testing.assert_close(model.encode(data.images), model.encoder(data.images))


def test_the_mean_and_covariance_of_codes_are_followed():
    model = make()
    latents = torch.randn(1000, Z) @ torch.tensor([[2.0, 0.0], [1.0, 0.5]]) + torch.tensor([3.0, -1.0])
    for part in latents.split(100):
        model._follow(part)
    # the mean is that of all latents; deviations are from the mean as known before, so the first count too much
    torch.testing.assert_close(model.latent_mean, latents.mean(dim=0))
    for part in latents.split(100) * 40:
        model._follow(part)
    torch.testing.assert_close(model.latent_covariance, latents.T.cov(), rtol=0.1, atol=0.1)


def test_samples_have_the_mean_and_covariance_of_the_codes():
    model = make(shape=(1, 1, Z), net=NetConfig(layers=0))
    mean, covariance = torch.tensor([0.2, -0.4]), torch.tensor([[0.5, 0.3], [0.3, 0.25]])
    with torch.no_grad():
        model.latent_mean.copy_(mean)
        model.latent_covariance.copy_(covariance)
        model.decoder.head.weight.copy_(torch.eye(Z))
        model.decoder.head.bias.zero_()
    latents = model.sample(20_000, rng=torch.Generator().manual_seed(5)).logit().view(-1, Z)
    torch.testing.assert_close(latents.mean(dim=0), mean, rtol=0.0, atol=0.02)
    torch.testing.assert_close(latents.T.cov(), covariance, rtol=0.0, atol=0.02)


def test_a_unit_that_never_moves_does_not_break_sampling():
    model = make()
    model.latent_covariance.zero_()
    images = model.sample(B)
    assert torch.isfinite(images).all()
    assert torch.equal(images[0], images[1])


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_conditional_model_reads_the_label(kind):
    model = make(shape=(1, 8, 8), conditional=True, net=NetConfig(kind=kind, hidden=13, channels=2))
    images, labels, others = torch.rand(B, 1, 8, 8), torch.tensor([0, 1, 2]), torch.tensor([0, 1, 6])
    latents = torch.randn(B, Z)
    for first, second in (
        (model.encode(images, labels), model.encode(images, others)),
        (model.decode(latents, labels), model.decode(latents, others)),
        (model.score(images, labels), model.score(images, others)),
    ):
        torch.testing.assert_close(first[:2], second[:2])
        assert not torch.allclose(first[2], second[2], atol=1e-6)
    cycle_labels = model.sample(9, rng=torch.Generator().manual_seed(7))
    asked = model.sample(9, torch.arange(9) % CLASSES, torch.Generator().manual_seed(7))
    torch.testing.assert_close(cycle_labels, asked)


def test_a_score_is_the_reconstruction_loss():
    model, data = make(), batch()
    expected = (model.reconstruct(data.images) - data.images).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(model.score(data.images), expected)


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match=r"setting rate=0\.0 is out of range"):
        AutoencoderConfig(rate=0.0)


@pytest.mark.parametrize("cls", [Autoencoder, SparseAutoencoder, DenoisingAutoencoder])
def test_it_learns_the_digits(cls):
    data = open_images("digits", seed=5)
    torch.manual_seed(5)
    config = replace(cls.Config(), net=replace(cls.Config().net, hidden=64, layers=1), lr=1e-2)
    model = cls(config, shape=data.shape, classes=10)
    model.configure()
    batches = ImageBatches(data.train, 64, seed=5)
    for step in range(300):
        model.step(next(batches), step / 300)
    valid = list(in_order(data.valid, 100))
    images = valid[0].images
    variance = (images - images.mean(dim=0)).square().sum(dim=(1, 2, 3)).mean()
    error = float(model.score(images).mean())
    # a code explains most of what differs from the mean image
    assert error < 0.5 * float(variance)
    if cls is SparseAutoencoder:
        assert model.evaluate(valid)["valid_activity"] == pytest.approx(0.05, abs=0.04)
    if cls is DenoisingAutoencoder:
        noisy = model.corrupt(images)
        before, after = ((each - images).square().mean() for each in (noisy, model.reconstruct(noisy)))
        assert float(after) < 0.6 * float(before)
