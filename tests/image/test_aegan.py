"""AEGAN of images: the contract, its terms and their switches, what moves whom, and both cycles closing."""

import math

import pytest
import torch

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.models.aegan import ImageAEGAN

SHAPE, CLASSES = (2, 9, 11), 3
SMALL = {
    f"{net}.{size}": n
    for net in ("encoder", "generator", "critic")
    for size, n in (("hidden", 7), ("channels", 3))
}
CONV = {f"{net}.kind": "conv" for net in ("encoder", "generator", "critic")}
DENSE = {f"{net}.kind": "dense" for net in ("encoder", "generator", "critic")}
OFF = {"images": 0.0, "latents": 0.0, "image_cycle": 0.0, "latent_cycle": 0.0, "dirichlet": 0.0}
VARIANTS = [
    CONV,
    DENSE | {"gan.loss": "energy", "gan.gradient_penalty": 1.0},
    CONV | {"gan.loss": "wasserstein", "conditional": True},
    DENSE | {"gan.loss": "hinge", "gan.r1": 1.0, "dirichlet": 0.0},
]
NETS = ("encoder", "generator", "critic", "latent_critic")


def build(values=None, seed=0, shape=SHAPE):
    torch.manual_seed(seed)
    given = SMALL | {"batch_size": 5, "latent_dim": 3, "latent_critic.hidden": 13} | (values or {})
    model = ImageAEGAN(settings.override(ImageAEGAN.Config(), given), shape=shape, classes=CLASSES)
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


def moved(model, before):
    return {name for name in NETS if not same(getattr(model, name), before[name])}


@pytest.mark.parametrize("values", VARIANTS)
def test_figures_are_finite_and_every_parameter_moves(values):
    model = build(values)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for figures in run(model):
        assert all(math.isfinite(float(value)) for value in figures.values()), figures
    assert ("dirichlet" in figures) == (values.get("dirichlet") != 0.0)
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    # What is added to every score alike cancels from these losses.
    biases = {"critic.head.bias", "latent_critic.head.bias"}
    assert still == (biases if values.get("gan.loss") in ("hinge", "wasserstein") else set())


@pytest.mark.parametrize("values", VARIANTS)
def test_same_seed_same_weights_and_state_round_trip(values):
    one, two, other = build(values), build(values), build(values, seed=9)
    run(one)
    run(two)
    other.load_state_dict(one.state_dict())
    assert same(one, weights(two))
    assert same(other, weights(one))


@pytest.mark.parametrize(
    ("mover", "wanted"),
    [("makers", {"encoder", "generator"}), ("critic", {"critic"}), ("latent_critic", {"latent_critic"})],
)
def test_each_loss_moves_its_own_networks_alone(mover, wanted):
    model = build()
    losses = model.losses
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.optimizers |= {name: model.optimizers[mover] for name in model.optimizers if name != mover}
    model.losses = lambda given: ({"makers": losses(given)[0][mover]}, {})
    model.step(batch(), 0.0)
    assert moved(model, before) == wanted
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ({"images": 1.0}, {"encoder", "generator", "critic"}),
        ({"latents": 1.0}, {"encoder", "generator", "latent_critic"}),
        ({"image_cycle": 1.0}, {"encoder", "generator"}),
        ({"latent_cycle": 1.0}, {"encoder", "generator"}),
        ({"dirichlet": 1.0}, {"generator"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_weight_of_zero_switches_a_loss_off(on, wanted):
    model = build(OFF | on)
    before = {name: weights(getattr(model, name)) for name in NETS}
    model.step(batch(), 0.0)
    assert moved(model, before) == wanted


def test_at_least_one_loss_is_on():
    with pytest.raises(UserError, match="every loss is off"):
        build(OFF)


def test_the_losses_by_hand():
    given = {
        "gan.r1": 0.0,
        "images": 0.5,
        "latents": 0.6,
        "image_cycle": 0.7,
        "latent_cycle": 0.8,
        "dirichlet": 0.0,
    }
    model, (x, labels) = build(given), batch()
    torch.manual_seed(3)
    losses, figures = model.losses(Batch(x, labels))
    torch.manual_seed(3)
    z = torch.randn(5, 3)

    def generator(latents):
        return torch.sigmoid(model.generator(latents))

    def latent_critic(latents):
        return model.latent_critic(latents.view(-1, 1, 1, 3))

    found = model.encoder(x)
    made, ends = generator(torch.cat([z, found])).chunk(2)  # normalised over both
    refound = model.encoder(made)
    image_cycle, latent_cycle = (x - ends).square().sum() / 5, (z - refound).square().sum() / 5
    fakes, false_codes = model.critic(torch.cat([made, ends])), latent_critic(torch.cat([found, refound]))
    wanted = {
        "critic": LOGISTIC.discriminator(model.critic(x), fakes),
        "latent_critic": LOGISTIC.discriminator(latent_critic(z), false_codes),
        "makers": 0.5 * gan_losses.generator_loss("logistic", fakes)
        + 0.6 * gan_losses.generator_loss("logistic", false_codes)
        + 0.7 / 2 * image_cycle
        + 0.8 / 2 * latent_cycle,
    }
    for name, loss in wanted.items():
        torch.testing.assert_close(losses[name], loss)
    assert float(metrics["image_cycle"]) == pytest.approx(image_cycle.item(), rel=1e-5)
    assert float(metrics["latent_cycle"]) == pytest.approx(latent_cycle.item(), rel=1e-5)


def test_the_critics_learn_to_score_what_is_real_higher():
    model = build({"lr": 0.0, "critic_lr": 1e-2, "gan.r1": 0.0})
    figures = [model.step(batch(seed=1), 0.0) for _ in range(40)]
    for side in ("images", "latents"):
        assert float(metrics[-1][f"score_gap_{side}"]) > float(metrics[0][f"score_gap_{side}"]) + 0.5


def test_the_dirichlet_energy_is_that_of_the_images():
    # Pixels σ(w·z + b) have the Jacobian σ' w; many latents average the estimate's random signs out.
    model = build(DENSE | {"generator.layers": 0, "latent_dim": 2}, shape=(1, 1, 5))
    rows = 40_000
    images = Batch(torch.rand(rows, 1, 1, 5), torch.zeros(rows, dtype=torch.long))
    torch.manual_seed(3)
    _, figures = model.losses(images)
    torch.manual_seed(3)
    pixels = torch.sigmoid(model.generator(torch.randn(rows, 2))).flatten(1)
    jacobians = (pixels * (1 - pixels))[:, :, None] * model.generator.head.weight  # (B, 5, Z)
    exact = jacobians.square().sum(dim=(1, 2)).mean().item() / 2
    assert float(metrics["dirichlet"]) == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("values", VARIANTS)
def test_evaluation_codes_and_samples(values):
    model = build(values)
    run(model, steps=1)
    first, second = batch(4), batch(3, seed=2)
    figures = model.evaluate([first, second])
    assert figures.keys() == {"valid_squared_error", "latent_variance", "diversity"}
    images, labels = (torch.cat(parts) for parts in zip(first, second, strict=True))
    latents = model.encode(images, labels)
    assert latents.shape == (7, 3)
    assert metrics["latent_variance"] == pytest.approx(latents.var(dim=0, unbiased=False).mean().item(), rel=1e-5)
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
    alone = run(build({"generator.normalise": "none"}), rows=1)
    assert all(math.isfinite(float(value)) for figures in alone for value in figures.values())


def test_every_setting_has_a_help_text():
    assert all(text for _, _, _, text in settings.describe(ImageAEGAN.Config))


def test_labels_reach_all_four_networks():
    model = build({"conditional": True})
    run(model)
    images, labels = batch(4)
    others, latents = (labels + 1) % CLASSES, torch.randn(4, 3)
    assert not torch.equal(model.decode(latents, labels), model.decode(latents, others))
    assert not torch.equal(model.encode(images, labels), model.encode(images, others))
    assert not torch.equal(model.critic(images, labels), model.critic(images, others))
    row = latents[:, None, None]
    assert not torch.equal(model.latent_critic(row, labels), model.latent_critic(row, others))


def test_both_cycles_close():
    """Two pixels, (0.1, 0.9) or (0.9, 0.1), with noise of 0.03: reconstructed, made, and coded as the prior is."""
    modes = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    sizes = {f"{net}.hidden": 32 for net in NETS}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98, "gan.r1": 0.1, "image_cycle": 1.0}
    torch.manual_seed(0)
    config = settings.override(ImageAEGAN.Config(), DENSE | sizes | speed | {"latent_dim": 1})
    model = ImageAEGAN(config, shape=(1, 1, 2), classes=0)
    model.configure()
    for i in range(300):
        pixels = modes[torch.randint(2, (64,))] + 0.03 * torch.randn(64, 2)
        model.step(Batch(pixels.view(64, 1, 1, 2), torch.zeros(64)), i / 300)
    assert model.score(modes.view(2, 1, 1, 2)).max() < 0.05
    distances = (model.sample(1000).view(1000, 1, 2) - modes).norm(dim=2)
    near = (distances.min(dim=1).values < 0.15).float().mean()
    first = (distances[:, 0] < distances[:, 1]).float().mean()
    assert near > 0.6
    assert 0.25 < first < 0.75
