"""The game's settings, penalties over several kinds of made samples, averages and collapse."""

import copy
import math

import pytest
import torch
from torch import nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.functional import gan_losses
from seqgen.image.networks import adversarial
from seqgen.image.networks.adversarial import GANLossConfig
from seqgen.image.networks.networks import NetConfig


@pytest.mark.parametrize("loss", ["logistic", "least_squares", "hinge", "wasserstein"])
def test_scores_are_judged_as_they_are(loss):
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0, -2.0])
    config = GANLossConfig(loss=loss)
    assert torch.equal(config.critic_loss(real, fake), gan_losses.critic_loss(loss, real, fake))
    assert torch.equal(config.generator_loss(fake), gan_losses.generator_loss(loss, fake))


def test_an_energy_is_low_where_the_score_is_high():
    config = GANLossConfig(loss="energy")
    # Energies log(1 + e^-s): of a real sample at s = 2 and a made one at 1, margin 1.
    low, high = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))
    loss = config.critic_loss(torch.tensor([2.0]), torch.tensor([1.0]))
    assert loss.item() == pytest.approx(low + 1 - high, rel=1e-5)
    assert config.generator_loss(torch.tensor([1.0])).item() == pytest.approx(high, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        ({}, 0.0),
        ({"loss": "wasserstein"}, 1.0),
        ({"loss": "wasserstein", "penalty": 0.0}, 0.0),
        ({"penalty": 3.0}, 3.0),
    ],
)
def test_the_penalty_is_on_by_default_where_the_game_needs_it(values, weight):
    config = settings.override(GANLossConfig(), values)
    assert config.slope_weight == weight
    for kind, usual in (("dense", 2.0), ("conv", 0.5)):
        assert config.r1_weight(NetConfig(kind=kind)) == (0.0 if config.loss == "wasserstein" else usual)


@pytest.mark.parametrize("values", [{"loss": "wasserstein"}, {"r1": 0.5}, {"penalty": 1.0}])
def test_a_penalised_critic_is_not_normalised_over_the_batch(values):
    config = settings.override(GANLossConfig(), values)
    config.check(NetConfig(normalise="layer"))
    GANLossConfig(r1=0.0).check(NetConfig(normalise="batch"))
    with pytest.raises(UserError, match=r"set critic\.normalise to layer or none"):
        config.check(NetConfig(normalise="batch"))


def test_smoothness_of_a_linear_critic_and_the_pairs_of_two_kinds():
    weight = torch.tensor([3.0, 4.0])  # ‖w‖ = 5: (5 - 1)² and ½ 25
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x @ weight

    real, made, other = torch.zeros(7, 2), torch.ones(7, 2), -torch.ones(7, 2)
    total, figures = GANLossConfig(penalty=2.0, r1=3.0).smoothness(NetConfig(), critic, real, made, other)
    assert {name: value.item() for name, value in figures.items()} == pytest.approx(
        {"penalty": 16.0, "r1": 12.5}
    )
    assert total.item() == pytest.approx(2 * 16 + 3 * 12.5)
    between = seen[0]
    assert (between[0::2] > 0).all()  # towards the first kind
    assert (between[1::2] < 0).all()  # towards the second
    total, figures = GANLossConfig(r1=0.0).smoothness(NetConfig(), critic, real, made)
    assert total.item() == 0
    assert not figures


def test_the_average_follows_and_takes_over_what_is_counted():
    module = nn.BatchNorm1d(3)
    average = copy.deepcopy(module)
    with torch.no_grad():
        module.weight.fill_(5.0)
        module.running_mean.fill_(7.0)
    adversarial.follow(average, module, keep=0.75, updates=100_000)
    assert average.weight.tolist() == [2.0] * 3  # ¾ · 1 + ¼ · 5
    assert average.running_mean.tolist() == [7.0] * 3
    adversarial.follow(average, module, keep=0.999, updates=0)  # keeps (1 + 0) / (10 + 0)
    assert average.weight.tolist() == pytest.approx([0.1 * 2 + 0.9 * 5] * 3)
    adversarial.follow(average, module, keep=0.0, updates=7)
    assert average.weight.tolist() == [5.0] * 3


def test_written_by_parts(monkeypatch):
    writer = nn.Sequential(nn.Linear(3, 10), nn.Unflatten(1, (1, 2, 5)))
    latents = torch.randn(7, 3)
    whole = adversarial.written(lambda z, labels: writer(z), latents, None)
    monkeypatch.setattr(adversarial, "ROWS", 2)
    seen = []
    parts = adversarial.written(lambda z, labels: seen.append(labels) or writer(z), latents, torch.arange(7))
    torch.testing.assert_close(parts, whole)
    assert torch.cat(seen).tolist() == list(range(7))
    assert whole.min() > 0
    assert whole.max() < 1


def test_labels_in_turn():
    labels = adversarial.cycle_labels(7, 3, torch.device("cpu"))
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert adversarial.cycle_labels(7, 0, torch.device("cpu")) is None


def test_variety_by_hand():
    # Pixels 0, 2 and 0, 0 vary by 1 + 0; pixels 0, 4 and 1, 3 by 4 + 1.
    made = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).view(2, 1, 1, 2)
    held_out = torch.tensor([[0.0, 1.0], [4.0, 3.0]]).view(2, 1, 1, 2)
    assert adversarial.variety(made, held_out) == pytest.approx({"diversity": 0.2})
    assert adversarial.variety(made, held_out[:1]) == {}


def test_collapse_is_a_fall():
    assert adversarial.collapsed({"diversity": 0.001}, most=0.001) is None  # it has not begun yet
    assert adversarial.collapsed({}, most=0.9) is None
    assert adversarial.collapsed({"diversity": 0.1}, most=0.9) is None
    assert "collapsed: their variety fell from 0.90 to 0.080" in (
        adversarial.collapsed({"diversity": 0.08}, most=0.9) or ""
    )
