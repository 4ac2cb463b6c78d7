"""The policy gradient: its gradient, what follows it, what holds the entropy, what an update moves."""

import helpers
import pytest
import torch
from helpers import GENERATOR_KINDS, LENGTH, batch, moved, sentences, weights

from seqgen.algorithms.rollout_policy import RolloutConfig
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import optim
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import shifted

ALGORITHMS = ["seqgan", "contrastive"]
SMALL = {
    "discriminator_pretraining_steps": 0,
    "entropy_coefficient": 0.0,
}


def build(name="seqgan", **values):
    return helpers.build(name, SMALL | values)


def update(algorithm, reward):
    """Update the generator with another reward, a function of tokens and mask."""
    algorithm.token_rewards = lambda tokens, mask, context: reward(tokens, mask)
    return algorithm.generator_step(batch(), 0.0, sentences())


@pytest.mark.parametrize("never_ends_at", [None, 0])
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_the_loss_is_that_of_reinforce(kind, never_ends_at, monkeypatch):
    entropy_weight = 0.3 if never_ends_at is None else 0.0  # the entropy is that of all tokens
    values = {
        "generator.kind": kind,
        "baseline": "none",
        "normalise": False,
        "teacher_forcing": 0.0,
        "target_entropy": 0.0,
        "entropy_coefficient": entropy_weight,
    }
    algorithm = build(**values)
    algorithm.generator.head.never_ends_at = never_ends_at
    rewards = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(2))
    drawn = sentences(3)
    monkeypatch.setattr(algorithm, "generate", lambda n: drawn)
    losses_seen = []

    def catch(losses, clip):
        losses_seen.append(losses[algorithm.optimizers["generator"]])
        return {optimizer: 0.0 for optimizer in losses}

    monkeypatch.setattr(optim, "update", catch)
    metrics = update(algorithm, lambda tokens, mask: rewards * mask)
    algorithm.generator.eval()
    logits, _ = algorithm.generator(shifted(drawn), algorithm.generator.initial(3))
    logits[..., UNK] -= 1e4  # no unknown words are sampled
    if never_ends_at is not None:
        logits[:, never_ends_at, EOS] -= 1e4  # and no empty sentences
    policy = torch.distributions.Categorical(logits=logits)
    mask = drawn != PAD
    terms = rewards * policy.log_prob(drawn) + entropy_weight * policy.entropy()
    assert losses_seen[0].item() == pytest.approx(-terms[mask].mean().item(), rel=1e-5)
    if entropy_weight:
        entropy = policy.entropy()[mask].mean().item()
        assert float(metrics["policy_entropy"]) == pytest.approx(entropy, rel=1e-5)
    last = mask.sum(dim=1) - 1
    assert float(metrics["reward"]) == pytest.approx(rewards[torch.arange(3), last].mean().item())
    reference = torch.autograd.grad(-terms[mask].mean(), algorithm.generator.head.weight)[0]
    given = torch.autograd.grad(losses_seen[0], algorithm.generator.head.weight)[0]
    assert torch.allclose(given, reference, atol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_moves_the_generator_its_average_and_its_value_head_alone(name):
    algorithm = build(name, baseline="learned")
    before = weights(algorithm)
    update(algorithm, lambda tokens, mask: mask * torch.rand(tokens.shape))
    parts = {name.split(".")[0] for name in moved(algorithm, before)}
    assert parts == {"generator", "average", "value"}
    assert all(p.grad is None for p in algorithm.parameters())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_discriminator_learns_alone_first_and_leaves_the_generator_alone(name):
    algorithm = build(name, discriminator_pretraining_steps=1)
    before = weights(algorithm)
    assert "reward" not in algorithm.step(batch(), 0.0)
    assert {name.split(".")[0] for name in moved(algorithm, before)} == {"discriminator"}
    assert "reward" in algorithm.step(batch(), 0.5)
    assert int(algorithm.updates) == 2


def test_what_rolls_out_is_a_moving_average():
    algorithm = build(ema_decay=0.75)
    old = weights(algorithm.average)
    algorithm.step(batch(), 0.0)
    new = weights(algorithm.generator)
    for name, now in algorithm.average.named_parameters():
        assert torch.allclose(now, 0.75 * old[name] + 0.25 * new[name], atol=1e-6)


def test_a_constant_reward_teaches_nothing_over_a_baseline():
    algorithm = build(reward="constant", teacher_forcing=0.0, target_entropy=0.0)
    before = weights(algorithm.generator)
    for i in range(2):
        algorithm.step(batch(seed=i), i / 2)
    assert not moved(algorithm.generator, before)


def test_a_reward_for_one_token_makes_it_likelier():
    algorithm = build(teacher_forcing=0.0, lr=1e-2, batch_size=31)
    wanted = 7
    fraction = lambda: (algorithm.sample(500).tokens == wanted).float().mean()  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for _ in range(40):
        update(algorithm, lambda tokens, mask: (tokens == wanted).float() * mask)
    assert fraction() > 2 * before


def test_the_coefficient_holds_the_entropy():
    algorithm = build()
    algorithm.hold_entropy(torch.tensor(2.0))
    algorithm.hold_entropy(torch.tensor(1.5))  # 0.05 · (2 - 1.5) above the start
    assert float(algorithm.entropy_coefficient) == pytest.approx(0.025)
    algorithm.hold_entropy(torch.tensor(3.0))  # 0.05 · (2 - 3) below that: a penalty
    assert float(algorithm.entropy_coefficient) == pytest.approx(-0.025)
    algorithm.hold_entropy(torch.tensor(1e4))
    assert float(algorithm.entropy_coefficient) == -0.5


def test_rewards_of_rollouts_are_of_what_the_moving_average_generates():
    algorithm = build(rollouts=31)
    tokens = algorithm.generate(5)
    mask = tokens != PAD

    def only_of_nines(whole):
        return (whole == 9).float().sum(dim=1)

    with torch.no_grad():
        algorithm.average.head.offset[9] = 100.0  # it generates nines until the end
    rewards = algorithm.rollout_rewards(tokens, only_of_nines, torch.sigmoid)
    own = (tokens == 9).int()
    for row in range(5):
        length = int(mask[row].sum())
        for t in range(length - 1):
            assert rewards[row, t].item() == pytest.approx(int(own[row, : t + 1].sum()) + LENGTH - t - 1)
        assert rewards[row, length - 1].item() == pytest.approx(int(own[row].sum()))
    assert not rewards[~mask].any()


def test_unknown_words_take_no_part():
    algorithm = build()
    with torch.no_grad():
        algorithm.generator.head.offset[UNK] = 100.0
    assert not (algorithm.generate(300) == UNK).any()
    tokens = sentences(31)
    tokens[:17, 0] = UNK
    assert torch.equal(without_unknown(tokens), tokens[17:])
    assert torch.equal(without_unknown(tokens[:17]), tokens[:17])  # kept rather than none


def test_settings_out_of_range():
    for wrong in (
        {"rollouts": 0},
        {"max_state_bytes": 0},
        {"ema_decay": 1.1},
        {"entropy_coefficient": -1.0},
        {"teacher_forcing": -1.0},
    ):
        with pytest.raises(UserError, match=f"setting {next(iter(wrong))}=.* is out of range"):
            RolloutConfig(**wrong)
