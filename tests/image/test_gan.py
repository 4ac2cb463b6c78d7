"""GAN: the contract, what moves whom, the terms of its losses, and learning two modes."""

import math

import pytest
import torch

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.data.dataset import Batch
from seqgen.image.models.gan import GAN

SHAPE, CLASSES = (2, 9, 11), 3
SMALL = {"generator.hidden": 7, "critic.hidden": 13, "generator.channels": 3, "critic.channels": 5, "latent_dim": 3}
DENSE = {"generator.kind": "dense", "critic.kind": "dense"}
CONV = {"generator.kind": "conv", "critic.kind": "conv"}
VARIANTS = [
    CONV,
    DENSE | {"gan.loss": "least_squares", "generator.activation": "gelu", "l1": 0.05},
    CONV | {"gan.loss": "wasserstein", "critic_steps": 2},
    CONV | {"gan.loss": "hinge", "gan.r1": 1.0, "conditional": True},
    DENSE | {"gan.loss": "energy", "generator.normalise": "batch", "critic.normalise": "layer"},
]


def build(values=None, seed=0, shape=SHAPE):
    torch.manual_seed(seed)
    model = GAN(
        settings.override(GAN.Config(), SMALL | {"batch_size": 5} | (values or {})),
        shape=shape,
        classes=CLASSES,
    )
    model.configure()
    return model


def batch(rows=5, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(rows, *SHAPE, generator=rng), torch.randint(CLASSES, (rows,), generator=rng))


def run(model, steps=3, rows=None):
    torch.manual_seed(5)
    rows = rows or model.config.read_size
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
    assert ("penalty" in figures) == (values.get("gan.loss") == "wasserstein")
    assert ("r1" in figures) == (values.get("gan.loss") != "wasserstein")
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    # What is added to every score alike cancels from these losses.
    assert still == ({"critic.head.bias"} if values.get("gan.loss") in ("hinge", "wasserstein") else set())
    assert all(p.grad is None for p in model.parameters())
    assert int(model.updates) == 3


@pytest.mark.parametrize("values", VARIANTS)
def test_same_seed_same_weights_and_state_round_trip(values):
    one, two, other = build(values), build(values), build(values, seed=9)
    run(one)
    run(two)
    other.load_state_dict(one.state_dict())
    assert same(one, weights(two))
    assert same(other, weights(one))
    assert int(other.updates) == 3


@pytest.mark.parametrize("values", VARIANTS)
def test_evaluation_samples_and_scores(values):
    model = build(values)
    run(model, steps=1)
    figures = model.evaluate([batch(4), batch(3, seed=2)])
    assert figures.keys() == {"valid_score_gap", "diversity"}
    assert float(model.highest_diversity) == pytest.approx(metrics["diversity"])
    assert model.should_stop(figures, figures) is None
    assert "collapsed" in (model.should_stop({"diversity": 0.09 * metrics["diversity"]}, figures) or "")
    assert torch.equal(model.samples(7), model.samples(7))
    drawn = model.sample(7, rng=torch.Generator().manual_seed(2))
    assert drawn.shape == (7, *SHAPE)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert torch.equal(drawn, model.sample(7, rng=torch.Generator().manual_seed(2)))
    images, labels = batch(4)
    assert model.decode(torch.zeros(4, 3), labels).shape == (4, *SHAPE)
    assert model.score(images, labels).shape == (4,)


def test_a_batch_of_one_image():
    alone = run(build({"generator.normalise": "none"}), rows=1)
    assert all(math.isfinite(float(value)) for figures in alone for value in figures.values())


def test_every_setting_has_a_help_text_and_bounds():
    assert all(text for _, _, _, text in settings.describe(GAN.Config))
    with pytest.raises(UserError, match="critic_steps=0 is out of range"):
        build({"critic_steps": 0})
    with pytest.raises(UserError, match="batch_size=1 is out of range"):
        build({"batch_size": 1})
    with pytest.raises(UserError, match="normalise=batch mixes"):
        build({"gan.loss": "wasserstein", "critic.normalise": "batch"})


@pytest.mark.parametrize(("images", "epochs"), [(1_000, 200), (57_000, 26), (10_000_000, 15)])
def test_passes_are_fitted_to_the_number_of_images(images, epochs):
    assert GAN.Config().fitted([None] * images).epochs == epochs
    assert settings.override(GAN.Config(), {"epochs": 2}).fitted([None] * images).epochs == 2


def test_a_generator_that_moves_less_often_gets_more_passes():
    wasserstein = settings.override(GAN.Config(), {"gan.loss": "wasserstein"})
    assert wasserstein.read_size == 5 * 64
    assert wasserstein.fitted([None] * 57_000).epochs == 3 * 26
    assert settings.override(wasserstein, {"critic_steps": 1}).fitted([None] * 57_000).epochs == 26


def test_the_first_moves_are_the_critics_alone(monkeypatch):
    model = build({"critic_steps": 3})
    moved = []
    update = optim.update

    def record(losses, **options):
        before = {"generator": weights(model.generator), "critic": weights(model.critic)}
        norms = update(losses, **options)
        moved.append({name for name, old in before.items() if not same(getattr(model, name), old)})
        return norms

    monkeypatch.setattr(optim, "update", record)
    model.step(batch(15), 0.0)
    assert moved == [{"critic"}, {"critic"}, {"critic", "generator"}]


def test_both_players_move_by_the_gradients_of_their_own_losses():
    model = build({"ema_decay": 0.0, "gan.r1": 0.0})
    real = batch()
    torch.manual_seed(3)
    latents = torch.randn(5, 3)
    fake = torch.sigmoid(model.generator(latents))
    d_loss = LOGISTIC.discriminator(model.critic(real.images)[:, 0], model.critic(fake)[:, 0])
    g_loss = gan_losses.generator_loss("logistic", model.critic(fake)[:, 0])
    wanted = {
        "critic": torch.autograd.grad(d_loss, list(model.critic.parameters()), retain_graph=True),
        "generator": torch.autograd.grad(g_loss, list(model.generator.parameters())),
    }
    lr = 0.1
    old = {name: weights(getattr(model, name)) for name in wanted}
    model.optimizers = {
        name: torch.optim.SGD([{"params": list(getattr(model, name).parameters()), "initial_lr": lr}], lr=lr)
        for name in wanted
    }
    torch.manual_seed(3)
    figures = model.step(real, 0.0)
    for name, gradients in wanted.items():
        for now, before, gradient in zip(
            getattr(model, name).parameters(), old[name], gradients, strict=True
        ):
            torch.testing.assert_close(now, before - lr * gradient)
    assert float(metrics["d_loss"]) == pytest.approx(d_loss.item(), rel=1e-5)
    assert float(metrics["g_loss"]) == pytest.approx(g_loss.item(), rel=1e-5)
    assert same(model.average, weights(model.generator))


def test_the_l1_term_is_a_pixels_distance_to_unrelated_images():
    torch.manual_seed(0)
    losses = []
    for weight in (0.0, 2.0):
        model = build({"l1": weight})
        with torch.no_grad():
            for parameter in model.generator.parameters():
                parameter.zero_()  # every pixel ½
        losses.append(float(model.step(Batch(torch.full((5, *SHAPE), 0.9), torch.zeros(5)), 0.0)["g_loss"]))
    assert losses[1] - losses[0] == pytest.approx(2 * 0.4, rel=1e-4)


def test_labels_reach_both_players():
    model = build({"conditional": True})
    run(model)
    images, labels = batch(4)
    latents = torch.randn(4, 3)
    assert not torch.equal(model.decode(latents, labels), model.decode(latents, (labels + 1) % CLASSES))
    assert not torch.equal(model.score(images, labels), model.score(images, (labels + 1) % CLASSES))
    cycle_labels = model.sample(4, torch.tensor([0, 1, 2, 0]), rng=torch.Generator().manual_seed(2))
    assert torch.equal(model.sample(4, rng=torch.Generator().manual_seed(2)), cycle_labels)


MODES = torch.tensor([[0.1, 0.9], [0.9, 0.1]])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("values", [{"gan.r1": 0.1}, {"gan.loss": "wasserstein", "gan.gradient_penalty": 1.0}])
def test_learns_both_of_two_modes(values, seed):
    """Two pixels, (0.1, 0.9) or (0.9, 0.1), with noise of 0.03: both are made, and little between them."""
    torch.manual_seed(seed)
    sizes = {"generator.hidden": 32, "critic.hidden": 32, "latent_dim": 2}
    speed = {"lr": 1e-2, "critic_lr": 1e-2, "ema_decay": 0.98}
    model = GAN(settings.override(GAN.Config(), DENSE | sizes | speed | values), shape=(1, 1, 2), classes=0)
    model.configure()
    for i in range(300):
        pixels = MODES[torch.randint(2, (64,))] + 0.03 * torch.randn(64, 2)
        model.step(Batch(pixels.view(64, 1, 1, 2), torch.zeros(64)), i / 300)
    distances = (model.sample(1000).view(1000, 1, 2) - MODES).norm(dim=2)
    near = (distances.min(dim=1).values < 0.15).float().mean()
    first = (distances[:, 0] < distances[:, 1]).float().mean()
    assert near > 0.7
    assert 0.25 < first < 0.75


@pytest.mark.cuda
def test_trains_on_the_gpu():
    model = build({"gan.loss": "wasserstein", "conditional": True}).cuda()
    model.configure()
    figures = model.step(batch(5).to("cuda"), 0.0)
    assert math.isfinite(float(metrics["d_loss"]))
    assert model.sample(3, rng=torch.Generator("cuda").manual_seed(0)).is_cuda
