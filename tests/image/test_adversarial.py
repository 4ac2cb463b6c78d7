"""The settings of the GAN loss, penalties of several kinds of fake samples, moving averages, collapse."""

import copy
import math

import pytest
import torch
from torch import nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.models.base import cycle_labels
from seqgen.image.networks import adversarial
from seqgen.image.networks.adversarial import GANLossConfig
from seqgen.image.networks.networks import NetConfig


@pytest.mark.parametrize("loss", ["logistic", "least_squares", "hinge", "wasserstein"])
def test_losses_are_those_of_the_table(loss):
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0, -2.0])
    config = GANLossConfig(loss=loss)
    assert torch.equal(config.critic_loss(real, fake), gan_losses.GAN_LOSSES[loss].discriminator(real, fake))
    assert torch.equal(config.generator_loss(real, fake), gan_losses.GAN_LOSSES[loss].generator(real, fake))


def test_an_energy_is_low_where_the_score_is_high():
    config = GANLossConfig(loss="energy")
    # Energies log(1 + e^-s): of a real sample at s = 2 and a fake one at 1, margin 1.
    low, high = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))
    loss = config.critic_loss(torch.tensor([2.0]), torch.tensor([1.0]))
    assert loss.item() == pytest.approx(low + 1 - high, rel=1e-5)
    assert config.generator_loss(torch.tensor([2.0]), torch.tensor([1.0])).item() == pytest.approx(
        high, rel=1e-5
    )


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        ({}, 0.0),
        ({"loss": "wasserstein"}, 1.0),
        ({"loss": "wasserstein", "gradient_penalty": 0.0}, 0.0),
        ({"gradient_penalty": 3.0}, 3.0),
    ],
)
def test_the_gradient_penalty_is_on_by_default_where_the_loss_needs_it(values, weight):
    config = settings.override(GANLossConfig(), values)
    assert config.gradient_penalty_weight == weight
    for kind, default in (("dense", 2.0), ("conv", 0.5)):
        assert config.r1_weight(NetConfig(kind=kind)) == (0.0 if config.loss == "wasserstein" else default)


@pytest.mark.parametrize("values", [{"loss": "wasserstein"}, {"r1": 0.5}, {"gradient_penalty": 1.0}])
def test_a_penalised_critic_is_not_normalised_over_the_batch(values):
    config = settings.override(GANLossConfig(), values)
    config.check(NetConfig(normalise="layer"))
    GANLossConfig(r1=0.0).check(NetConfig(normalise="batch"))
    with pytest.raises(UserError, match=r"set critic\.normalise to layer or none"):
        config.check(NetConfig(normalise="batch"))


def test_penalties_of_a_linear_critic_and_the_pairs_of_two_kinds():
    weight = torch.tensor([3.0, 4.0])  # ‖w‖ = 5: (5 - 1)² and ½ 25
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x @ weight

    real, fake, other = torch.zeros(7, 2), torch.ones(7, 2), -torch.ones(7, 2)
    total, metrics = GANLossConfig(gradient_penalty=2.0, r1=3.0).penalties(
        NetConfig(), critic, real, fake, other
    )
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(
        {"gradient_penalty": 16.0, "r1": 12.5}
    )
    assert total.item() == pytest.approx(2 * 16 + 3 * 12.5)
    between = seen[0]
    assert (between[0::2] > 0).all()  # towards the first kind
    assert (between[1::2] < 0).all()  # towards the second
    total, metrics = GANLossConfig(r1=0.0).penalties(NetConfig(), critic, real, fake)
    assert total.item() == 0
    assert not metrics


def test_a_penalised_loss_is_the_critics_loss_and_its_weighted_penalties():
    weight = torch.tensor([3.0, 4.0])  # ‖w‖ = 5: R1 is ½ 25
    scores = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 1.0])
    loss, metrics = GANLossConfig(loss="hinge", r1=0.1).penalised_critic_loss(
        NetConfig(), lambda x: x @ weight, scores, torch.zeros(7, 2), torch.ones(7, 2)
    )
    # Hinge: the mean of ½ and 0, and the mean of 0 and 2; gap: 1.75 - (-0.5).
    assert loss.item() == pytest.approx(0.25 + 1.0 + 0.1 * 12.5)
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(
        {"d_loss": 2.5, "score_gap": 2.25, "r1": 12.5}
    )


def test_the_moving_average_of_weights_and_the_copy_of_buffers():
    module = nn.BatchNorm1d(3)
    ema = copy.deepcopy(module)
    with torch.no_grad():
        module.weight.fill_(5.0)
        module.running_mean.fill_(7.0)
    adversarial.update_ema(ema, module, decay=0.75, updates=100_000)
    assert ema.weight.tolist() == [2.0] * 3  # ¾ · 1 + ¼ · 5
    assert ema.running_mean.tolist() == [7.0] * 3
    adversarial.update_ema(ema, module, decay=0.999, updates=0)  # a decay of (1 + 0) / (10 + 0)
    assert ema.weight.tolist() == pytest.approx([0.1 * 2 + 0.9 * 5] * 3)
    adversarial.update_ema(ema, module, decay=0.0, updates=7)
    assert ema.weight.tolist() == [5.0] * 3


def test_decoding_in_chunks(monkeypatch):
    decoder = nn.Sequential(nn.Linear(3, 10), nn.Unflatten(1, (1, 2, 5)))
    latents = torch.randn(7, 3)
    at_once = adversarial.decode_in_chunks(lambda z, labels: decoder(z), latents, None)
    monkeypatch.setattr(adversarial, "CHUNK", 2)
    seen = []
    chunks = adversarial.decode_in_chunks(
        lambda z, labels: seen.append(labels) or decoder(z), latents, torch.arange(7)
    )
    torch.testing.assert_close(chunks, at_once)
    assert torch.cat(seen).tolist() == list(range(7))
    assert at_once.min() > 0
    assert at_once.max() < 1


def test_labels_cycle():
    labels = cycle_labels(7, (5, 0, 2), torch.device("cpu"))
    assert labels is not None
    assert labels.tolist() == [5, 0, 2, 5, 0, 2, 5]
    assert cycle_labels(7, (), torch.device("cpu")) is None


def test_diversity_by_hand():
    # Pixels 0, 2 and 0, 0 vary by 1 + 0; pixels 0, 4 and 1, 3 by 4 + 1.
    generated = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).view(2, 1, 1, 2)
    held_out = torch.tensor([[0.0, 1.0], [4.0, 3.0]]).view(2, 1, 1, 2)
    assert adversarial.diversity(generated, held_out) == pytest.approx({"diversity": 0.2})
    assert adversarial.diversity(generated, held_out[:1]) == {}


def test_collapse_is_a_fall():
    assert adversarial.collapsed({"diversity": 0.001}, highest=0.001) is None  # it has not begun yet
    assert adversarial.collapsed({}, highest=0.9) is None
    assert adversarial.collapsed({"diversity": 0.1}, highest=0.9) is None
    assert "collapsed: the diversity of its images fell from 0.90 to 0.080" in (
        adversarial.collapsed({"diversity": 0.08}, highest=0.9) or ""
    )


def test_a_collapse_from_the_first_step_is_said_once_half_of_training_is_over():
    late = {"progress": 0.5, "updates": 300}
    message = adversarial.collapsed({"diversity": 0.03}, 0.04, **late)
    assert message == (
        "the generator has collapsed from the first step on: the diversity of its images was at most 0.040, "
        "that of real ones being 1; try a lower --set lr=… or another --set gan.loss=…"
    )
    assert adversarial.collapsed({"diversity": 0.03}, 0.04, **late | {"progress": 0.49}) is None
    assert adversarial.collapsed({"diversity": 0.03}, 0.04, **late | {"updates": 299}) is None
    assert adversarial.collapsed({"diversity": 0.05}, 0.05, **late) is None
    assert adversarial.collapsed({}, 0.0, **late) is None  # held-out images that do not vary
    fallen = adversarial.collapsed({"diversity": 0.0001}, 0.004, progress=0.1, updates=300)
    assert "from the first step on: the diversity of its images was at most 0.004" in fallen
    assert adversarial.collapsed({"diversity": 0.0001}, 0.004, progress=0.9, updates=299) is None
    assert "fell from 0.80 to nan" in adversarial.collapsed({"diversity": math.nan}, 0.8)


@pytest.mark.parametrize(
    ("report", "weight", "message"),
    [
        ({"d_loss": 1e7}, 1.0, r"d_loss is 1e\+07"),
        ({"valid_score_gap": -2e6}, 1.0, r"valid_score_gap is -2e\+06"),
        ({"g_loss": math.nan}, 1.0, "g_loss is nan"),
        ({"d_loss": 1.4}, 2e4, r"a weight is 2e\+04"),
        ({"d_loss": 1.4}, -math.inf, "a weight is inf"),
    ],
)
def test_a_divergence_of_finite_numbers_is_one(report, weight, message):
    module = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 2)])
    adversarial.check_diverged({"d_loss": 9e5, "valid_squared_error": 1e7}, module)
    module[1].weight.data[1, 3] = weight
    with pytest.raises(FloatingPointError, match=message):
        adversarial.check_diverged(report, module)
