"""MaliGAN: its weights and advantages by hand."""

import math

import pytest
import torch
from helpers import build, sentences

from seqgen.algorithms.policy_gradient import Rollout
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD

TOKENS = torch.tensor([[5, EOS, PAD], [6, 7, EOS], [EOS, PAD, PAD]])
MASK = TOKENS != PAD


def with_logits(algorithm, logits):
    algorithm.discriminator.forward = lambda tokens: torch.tensor(logits)[: len(tokens)]


def test_weights_are_the_density_ratios_over_their_mean():
    algorithm = build("maligan")
    # D of 1/2, 3/4 and 1/4: D / (1 - D) of 1, 3 and 1/3, whose sum is 13/3; times the three sentences
    with_logits(algorithm, [0.0, math.log(3), -math.log(3)])
    rewards = algorithm.token_rewards(TOKENS, MASK, sentences())
    wanted = [[9 / 13, 9 / 13, 0], [27 / 13] * 3, [3 / 13, 0, 0]]
    torch.testing.assert_close(rewards, torch.tensor(wanted), rtol=1e-5, atol=0)
    assert rewards[:, 0].mean().item() == pytest.approx(1.0)


def test_ratios_are_bounded():
    algorithm = build("maligan", {"max_log_ratio": math.log(3)})
    with_logits(algorithm, [0.0, 50.0, -50.0])
    rewards = algorithm.token_rewards(TOKENS, MASK, sentences())[:, 0]
    assert rewards.tolist() == pytest.approx([9 / 13, 27 / 13, 3 / 13], rel=1e-5)


def test_the_baseline_grows_with_the_progress_and_padding_has_no_advantage():
    algorithm = build("maligan")
    rewards = torch.tensor([[1.5, 1.5, 0.0], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])
    hidden = torch.zeros(3, 3, 11)
    for progress, wanted in (
        (0.0, [[1.5, 1.5, 0], [0.5, 0.5, 0.5], [1, 0, 0]]),
        (0.75, [[0.75, 0.75, 0], [-0.25, -0.25, -0.25], [0.25, 0, 0]]),
    ):
        found, losses = algorithm.advantages(Rollout(TOKENS, MASK, rewards), hidden, progress)
        torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-6)
        assert losses == {}


def test_what_the_discriminator_takes_for_real_becomes_likelier():
    algorithm = build(
        "maligan", {"teacher_forcing": 0.0, "target_entropy": 0.0, "lr": 3e-2, "batch_size": 31}
    )
    algorithm.discriminator.forward = lambda tokens: 3.0 * (tokens == 7).any(dim=1)
    fraction = lambda: float((algorithm.sample(500).tokens == 7).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for _ in range(30):
        algorithm.generator_step(None, 0.9, sentences())
    assert fraction() > 2 * before


def test_settings_out_of_range():
    with pytest.raises(UserError, match=r"max_log_ratio=-1\.0 is out of range"):
        settings.override(build("maligan").config, {"max_log_ratio": -1.0})
