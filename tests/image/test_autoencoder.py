"""Autoencoders: the sparsity penalty by hand, noise, the Gaussian of latents, and that each learns."""

import math

import image_helpers as helpers
import pytest
import torch
from torch import distributions

from seqgen import image
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.image.data.dataset import in_order, open_images
from seqgen.image.models.autoencoder import Autoencoder, AutoencoderConfig, sparsity_penalty

B, Z = 3, 2
SMALL = {"net.hidden": 13, "net.layers": 1, "latent_dim": Z}


def make(name="autoencoder", values=None, shape=(1, 5, 11)):
    presets = dict(image.get(name).presets)
    return helpers.build(Autoencoder, presets | SMALL | (values or {}), shape=shape, seed=3)


def batch():
    return helpers.batch(B, shape=(1, 5, 11))


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


def test_a_sparse_latent_is_penalised_for_its_mean():
    model, data = make("sparse-autoencoder", {"sparsity_weight": 2.0, "sparsity_target": 0.1}), batch()
    latents = torch.sigmoid(model.encoder(data.images))
    torch.testing.assert_close(model.encode(data.images), latents)
    metrics = model.step(data, 0.0)
    torch.testing.assert_close(
        metrics["sparsity_penalty"], sparsity_penalty(latents.mean(dim=0), 0.1).detach()
    )
    torch.testing.assert_close(metrics["loss"], metrics["reconstruction"] + 2.0 * metrics["sparsity_penalty"])


def test_noise_has_its_deviation_and_is_clipped():
    model = make("denoising-autoencoder")
    grey = torch.full((B, 1, 97, 101), 0.5)
    noisy = model.corrupt(grey, torch.Generator().manual_seed(5))
    # N(½, 0.3²) clipped at ±1⅔ deviations: standard deviation 0.3 · √(1 - …) = 0.2701
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.2701, abs=0.005)
    assert (float(noisy.min()), float(noisy.max())) == (0.0, 1.0)
    assert make().corrupt(grey) is grey


def test_a_denoising_model_encodes_the_noisy_image_and_reconstructs_the_clean_one():
    model, data = make("denoising-autoencoder"), batch()
    torch.manual_seed(11)
    noisy = model.corrupt(data.images)
    expected = (torch.sigmoid(model.decoder(model.encoder(noisy))) - data.images).square().sum() / B
    torch.manual_seed(11)
    torch.testing.assert_close(model.step(data, 0.0)["loss"], expected.detach())


def test_images_are_encoded_without_noise_after_training():
    model, data = make("denoising-autoencoder"), batch()
    assert torch.equal(model.reconstruct(data.images), model.reconstruct(data.images))
    torch.testing.assert_close(model.encode(data.images), model.encoder(data.images))


def test_the_mean_and_covariance_of_latents_are_running_estimates():
    model = make()
    latents = torch.randn(1000, Z) @ torch.tensor([[2.0, 0.0], [1.0, 0.5]]) + torch.tensor([3.0, -1.0])
    for part in latents.split(100):
        model._update_moments(part)
    # The mean is exact; deviations are from the mean before each batch, so the first ones are too large.
    torch.testing.assert_close(model.latent_mean, latents.mean(dim=0))
    for part in latents.split(100) * 40:
        model._update_moments(part)
    torch.testing.assert_close(model.latent_covariance, latents.T.cov(), rtol=0.1, atol=0.1)


def test_a_step_takes_its_latents_into_the_running_moments():
    model, data = make(), batch()
    latents = model.encode(data.images)
    model.step(data, 0.0)
    # The first batch has the weight 1; deviations are from the initial mean, 0.
    torch.testing.assert_close(model.latent_mean, latents.mean(dim=0))
    torch.testing.assert_close(model.latent_covariance, latents.T @ latents / B)


def test_samples_have_the_mean_and_covariance_of_the_training_latents():
    model = make(values={"net.layers": 0}, shape=(1, 1, Z))
    mean, covariance = torch.tensor([0.2, -0.4]), torch.tensor([[0.5, 0.3], [0.3, 0.25]])
    with torch.no_grad():
        model.latent_mean.copy_(mean)
        model.latent_covariance.copy_(covariance)
        model.decoder.head.weight.copy_(torch.eye(Z))
        model.decoder.head.bias.zero_()
    latents = model.sample(20_000, rng=torch.Generator().manual_seed(5)).logit().view(-1, Z)
    torch.testing.assert_close(latents.mean(dim=0), mean, rtol=0.0, atol=0.02)
    torch.testing.assert_close(latents.T.cov(), covariance, rtol=0.0, atol=0.02)


def test_a_dimension_that_never_varies_does_not_break_sampling():
    model = make()
    model.latent_covariance.zero_()
    images = model.sample(B)
    assert torch.isfinite(images).all()
    torch.testing.assert_close(images[0], images[1])


def test_a_score_is_the_reconstruction_loss():
    model, data = make(), batch()
    expected = (model.reconstruct(data.images) - data.images).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(model.score(data.images), expected)


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match=r"setting sparsity_target=0\.0 is out of range"):
        AutoencoderConfig(sparsity_target=0.0)


@pytest.mark.parametrize("name", ["autoencoder", "sparse-autoencoder", "denoising-autoencoder"])
def test_it_learns_the_digits(name):
    data = open_images("digits", seed=5)
    torch.manual_seed(5)
    config = settings.override(image.get(name).config(), {"net.hidden": 64, "net.layers": 1, "lr": 1e-2})
    model = Autoencoder(config, shape=data.shape, classes=10)
    helpers.train_on_digits(model, data, seed=5)
    valid = list(in_order(data.valid, 100))
    images = valid[0].images
    variance = (images - images.mean(dim=0)).square().sum(dim=(1, 2, 3)).mean()
    error = float(model.score(images).mean())
    # the latent explains most of the variance
    assert error < 0.5 * float(variance)
    if name == "sparse-autoencoder":
        assert model.evaluate(valid)["valid_activity"] == pytest.approx(0.05, abs=0.04)
    if name == "denoising-autoencoder":
        noisy = model.corrupt(images)
        before, after = ((each - images).square().mean() for each in (noisy, model.reconstruct(noisy)))
        assert float(after) < 0.6 * float(before)
