"""DP-GAN: rewards and both losses by hand, and what it makes of a discriminator that knows a word."""

import math

import pytest
import torch
from helpers import build, sentences

from seqgen.algorithms import dpgan
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD

TOKENS = torch.tensor([[5, 6, EOS], [7, EOS, PAD]])
MASK = TOKENS != PAD
NATS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 2.0, 0.0]])
"""Cross entropies of these words: 2 and 3 in a sentence's mean."""


@pytest.mark.parametrize(
    ("discount", "wanted"),
    [
        (1.0, [[12.0, 10.0, 6.0], [18.0, 6.0, 0.0]]),
        (0.5, [[2 + 0.5 * 7, 4 + 0.5 * 6, 6.0], [12 + 0.5 * 6, 6.0, 0.0]]),
        (0.0, [[2.0, 4.0, 6.0], [12.0, 6.0, 0.0]]),
    ],
)
def test_returns_by_hand(discount, wanted, monkeypatch):
    algorithm = build("dpgan", {"discount": discount})
    monkeypatch.setattr(dpgan, "log_prob", lambda model, tokens: -NATS)
    found = algorithm.token_rewards(TOKENS, MASK, sentences())
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-6, atol=0)


def test_the_discriminators_losses_by_hand(monkeypatch):
    # Nats a word: 2 and 3 of real sentences, 1 of the generated one.
    by_length = {2: -NATS.sum(dim=1), 1: torch.tensor([-2.0])}
    monkeypatch.setattr(dpgan, "sentence_log_probs", lambda model, tokens: by_length[len(tokens)])
    fake = torch.tensor([[9, EOS]])
    for loss, wanted in (
        ("wasserstein", 1 - (2 + 3) / 2),
        ("relativistic", math.log(1 + math.exp(1 - 2))),  # of the first pair
    ):
        algorithm = build("dpgan", {"loss": loss})
        found, metrics = algorithm.discriminator_loss(TOKENS, fake)
        assert found.item() == pytest.approx(wanted, rel=1e-6)
        assert float(metrics["d_gap"]) == pytest.approx(1.5)


def test_advantages_are_of_the_others_at_a_position_and_normalised():
    algorithm = build("dpgan")
    rewards = torch.tensor([[3.0, 1.0, 5.0], [1.0, 4.0, 0.0]])
    found, losses = algorithm.advantages(Rollout(TOKENS, MASK, rewards), torch.zeros(2, 3, 11), 0.0)
    # less the other's: 2, -3, 0 (nobody else is there) and -2, 3; mean 0, mean square (4 + 9 + 0 + 4 + 9) / 5
    scale = math.sqrt(26 / 5)
    wanted = torch.tensor([[2.0, -3.0, 0.0], [-2.0, 3.0, 0.0]]) / scale
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert losses == {}


def test_what_the_discriminator_knows_becomes_less_likely():
    values = {"teacher_forcing": 0.0, "target_entropy": 0.0, "lr": 3e-2, "batch_size": 31}
    algorithm = build("dpgan", values)
    with torch.no_grad():
        algorithm.discriminator.head.offset[7] = 5.0
    fraction = lambda: float((algorithm.sample(500).tokens == 7).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for _ in range(15):
        algorithm.generator_step(None, 0.5, sentences())
    assert fraction() < before / 2


def test_the_discriminator_learns_to_know_generated_sentences():
    algorithm = build("dpgan", {"discriminator.lr": 1e-2, "discriminator.dropout": 0.0})
    real, fake = sentences(31), sentences(31, seed=2)
    real[:, 0], fake[:, 0] = 5, 6
    for _ in range(30):
        metrics = algorithm.discriminator_step(real, fake)
    assert float(metrics["d_gap"]) > 0.5


def test_settings_out_of_range():
    with pytest.raises(UserError, match=r"discount=1\.5 is out of range"):
        settings.override(build("dpgan").config, {"discount": 1.5})
