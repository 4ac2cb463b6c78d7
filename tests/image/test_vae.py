"""The VAE: its likelihoods by hand, NLL against a closed form, and that it learns."""

import math

import image_helpers as helpers
import pytest
import torch
from torch import distributions

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Batch, in_order, open_images
from seqgen.image.models.vae import VAE, VAEConfig
from seqgen.image.networks import pixel_losses
from seqgen.image.networks.networks import NetConfig

B, Z = 3, 2
SHAPE = (1, 5, 11)
SMALL = {"net.hidden": 13, "net.layers": 1, "latent_dim": Z}


def make(values=None, shape=SHAPE):
    return helpers.build(VAE, SMALL | (values or {}), shape=shape, seed=3)


def batch(n=B):
    return helpers.batch(n, shape=SHAPE)


def test_pixel_losses_by_hand():
    logits, images = torch.tensor([[[[0.0, math.log(3)]]]]), torch.tensor([[[[1.0, 0.25]]]])
    # x̂ = ½, ¾: -log ½ = 0.6931; -(¼ log ¾ + ¾ log ¼) = 0.0719 + 1.0397
    assert float(pixel_losses.loss("bernoulli", logits, images)) == pytest.approx(0.6931 + 1.1116, abs=1e-3)
    # ½² + ½²
    assert float(pixel_losses.loss("squared_error", logits, images)) == pytest.approx(0.5)
    # the output as it is, σ = 2: errors 1 and 1.0986 - 0.25; ½ (1 + 0.7202) / 4 + 2 · (log 2 + ½ log 2π)
    gaussian = pixel_losses.loss("gaussian", logits, images, torch.tensor(2.0).log())
    assert float(gaussian) == pytest.approx(0.2150 + 2 * (0.6931 + 0.9189), abs=1e-3)
    assert pixel_losses.means("gaussian", logits).flatten().tolist() == [0.0, 1.0]
    assert pixel_losses.means("bernoulli", logits).flatten().tolist() == pytest.approx([0.5, 0.75])


def test_squared_error_is_a_gaussian_but_for_its_constant():
    logits, images = torch.randn(B, *SHAPE), torch.rand(B, *SHAPE)
    density = distributions.Normal(torch.sigmoid(logits), math.sqrt(0.5)).log_prob(images).sum(dim=(1, 2, 3))
    ours = pixel_losses.loss("squared_error", logits, images) + pixel_losses.constant("squared_error", 55)
    torch.testing.assert_close(-ours, density)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "squared_error", "poisson"])
def test_losses_broadcast_over_draws(likelihood):
    logits, images, log_sigma = torch.randn(7, B, *SHAPE), torch.rand(B, *SHAPE), torch.tensor(0.3)
    together = pixel_losses.loss(likelihood, logits, images, log_sigma)
    one_by_one = [pixel_losses.loss(likelihood, each, images, log_sigma) for each in logits]
    torch.testing.assert_close(together, torch.stack(one_by_one))


def test_a_score_is_reconstruction_at_the_mean_and_the_divergence():
    model, data = make(), batch()
    mean, log_var = model.posterior(data.images)
    posterior = distributions.Normal(mean, (0.5 * log_var).exp())
    kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(dim=1)
    bernoulli = distributions.Bernoulli(logits=model.decoder(mean), validate_args=False)
    expected = kl - bernoulli.log_prob(data.images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(model.score(data.images), expected)


def linear_gaussian():
    """x = W z + b + σ ε with orthogonal columns of W: the posterior is a diagonal Gaussian, p(x) is exact."""
    sigma, shape = 0.5, (1, 3, 5)
    model = make({"net.layers": 0, "likelihood": "gaussian", "sigma": sigma}, shape)
    weight = torch.linalg.qr(torch.randn(15, Z)).Q * torch.tensor([2.0, 0.7])
    bias = torch.randn(15)
    # posterior variance 1 / (1 + ‖w‖² / σ²), mean that · Wᵀ (x - b) / σ²
    variance = 1 / (1 + weight.square().sum(dim=0) / sigma**2)
    matrix = (weight / sigma**2 * variance).T
    with torch.no_grad():
        model.decoder.head.weight.copy_(weight)
        model.decoder.head.bias.copy_(bias)
        model.encoder.head.weight.copy_(torch.cat([matrix, torch.zeros(Z, 15)]))
        model.encoder.head.bias.copy_(torch.cat([-matrix @ bias, variance.log()]))
    covariance = weight @ weight.T + sigma**2 * torch.eye(15)
    return model, distributions.MultivariateNormal(bias, covariance)


def test_nll_of_a_linear_gaussian_model_is_exact_under_its_posterior():
    model, marginal = linear_gaussian()
    images = marginal.sample((B,))
    log_p = model.log_likelihood(images.view(B, 1, 3, 5), samples=2)
    torch.testing.assert_close(log_p, marginal.log_prob(images), rtol=0.0, atol=1e-3)


def test_importance_sampling_makes_up_for_a_wrong_posterior():
    model, marginal = linear_gaussian()
    images = marginal.sample((B,))
    with torch.no_grad():
        model.encoder.head.bias[:Z] += 0.1
        model.encoder.head.bias[Z:] += 0.5  # wider than the truth, so that weights are bounded
    rng = torch.Generator().manual_seed(7)
    log_p = model.log_likelihood(images.view(B, 1, 3, 5), samples=20_000, rng=rng)
    torch.testing.assert_close(log_p, marginal.log_prob(images), rtol=0.0, atol=1e-2)


def test_squared_error_has_a_density():
    model, data = make({"likelihood": "squared_error"}), batch()
    with torch.no_grad():  # a decoder that ignores the latent, an encoder that returns the prior
        model.decoder.head.weight.zero_()
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.zero_()
    image = torch.sigmoid(model.decoder.head.bias).view(SHAPE)
    density = distributions.Normal(image, math.sqrt(0.5)).log_prob(data.images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(model.log_likelihood(data.images, samples=3), density)


def test_beta_weighs_the_divergence_and_warms_up():
    def metrics(progress, **options):
        model = make({"beta": 3.0} | options)
        return {k: float(v) for k, v in model.step(batch(), progress).items()}

    full = metrics(0.2)
    assert full["loss"] == pytest.approx(full["reconstruction"] + 3 * full["kl"], rel=1e-5)
    half = metrics(0.2, beta_warmup=0.4)
    assert half["beta"] == pytest.approx(1.5)
    assert half["loss"] == pytest.approx(half["reconstruction"] + 1.5 * half["kl"], rel=1e-5)
    assert metrics(0.6, beta_warmup=0.4)["beta"] == 3.0
    held_out = make({"beta": 3.0, "beta_warmup": 0.4}).evaluate([batch()])
    assert held_out["valid_loss"] == pytest.approx(
        held_out["valid_reconstruction"] + 3 * held_out["valid_kl"], rel=1e-5
    )


def test_held_out_metrics_do_not_depend_on_the_batches():
    model, data = make({"likelihood": "squared_error"}), batch(n=7)
    with torch.no_grad():
        model.encoder.head.bias[Z:] = -60.0  # no noise, so that draws are alike
    one = model.evaluate([data])
    many = model.evaluate([Batch(data.images[a:b], data.labels[a:b]) for a, b in ((0, 4), (4, 6), (6, 7))])
    assert many == pytest.approx(one, rel=1e-4)


def test_sigma_is_learnt_unless_given():
    learned = make({"likelihood": "gaussian"})
    before = learned.log_sigma.item()
    learned.step(batch(), 0.0)
    assert learned.log_sigma.item() != before
    given = make({"likelihood": "gaussian", "sigma": 0.2})
    given.step(batch(), 0.0)
    assert given.log_sigma.item() == pytest.approx(math.log(0.2))


def test_the_likelihood_of_a_conditional_model_depends_on_the_label():
    model = make({"conditional": True})
    images, labels, others = torch.rand(B, *SHAPE), torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0])
    first, second = (
        model.log_likelihood(images, each, samples=5, rng=torch.Generator().manual_seed(7))
        for each in (labels, others)
    )
    torch.testing.assert_close(first[:2], second[:2])
    assert float(first[2]) != float(second[2])


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match=r"setting beta=-1\.0 is out of range"):
        VAEConfig(beta=-1.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_the_digits(seed):
    data = open_images("digits", seed=seed, binarise="fixed")
    torch.manual_seed(seed)
    model = VAE(
        VAEConfig(net=NetConfig(hidden=64, layers=1), latent_dim=8, lr=1e-2), shape=data.shape, classes=10
    )
    helpers.train_on_digits(model, data, seed=seed)
    valid = model.evaluate(list(in_order(data.valid, 100)))
    # Independent pixels at their means are the best that a decoder without a latent can do.
    means = data.train.batch(slice(None)).images.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    alone = float(pixel_losses.loss("bernoulli", means.logit(), data.valid.batch(slice(None)).images).mean())
    assert valid["valid_loss"] < alone - 2
    assert valid["active_units"] >= 3
    nll = -float(model.log_likelihood(data.valid.batch(slice(None)).images, samples=50).mean())
    assert nll < valid["valid_loss"]


def test_a_learning_rate_of_zero_is_not_the_default():
    assert VAEConfig(lr=0.0).peak_lr == 0.0
    assert VAEConfig().peak_lr == pytest.approx(2.5e-3)
    assert VAEConfig(optimizer="sgd").peak_lr == pytest.approx(2.5e-4)


def test_the_decoder_has_its_own_learning_rate():
    model = make({"lr": 0.01, "decoder_lr": 0.03, "weight_decay": 0.1})
    assert model.step(batch(), 0.5)["lr"] == pytest.approx(0.005)  # half way down the cosine
    rates = {p: group["lr"] for group in model.optimizers["model"].param_groups for p in group["params"]}
    decays = {
        p: group["weight_decay"] for group in model.optimizers["model"].param_groups for p in group["params"]
    }
    assert rates.keys() == {p for p in model.parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[parameter] == pytest.approx(0.015 if name.startswith("decoder.") else 0.005)
            assert decays[parameter] == (0.1 if parameter.dim() > 1 else 0.0)


def test_a_decoder_with_a_learning_rate_of_zero_stays_as_it_is():
    model = make({"lr": 0.01, "decoder_lr": 0.0})
    before = {name: helpers.weights(getattr(model, name)) for name in ("encoder", "decoder")}
    helpers.train(model, shape=SHAPE)
    assert helpers.changed_networks(model, before) == {"encoder"}


def test_a_step_of_sgd_with_momentum_by_hand():
    model = make({"optimizer": "sgd", "lr": 1e-3, "lr_floor": 1.0})
    bias = model.decoder.head.bias
    gradients, values = [], [bias.detach().clone()]
    for seed in (1, 2):
        torch.manual_seed(seed)
        loss, _ = model.training_loss(batch(), 0.0)
        gradients.append(torch.autograd.grad(loss, bias)[0])
        torch.manual_seed(seed)
        model.step(batch(), 0.0)
        values.append(bias.detach().clone())
    torch.testing.assert_close(values[1], values[0] - 1e-3 * gradients[0])
    torch.testing.assert_close(values[2], values[1] - 1e-3 * (0.9 * gradients[0] + gradients[1]))
