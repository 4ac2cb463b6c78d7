"""LeakGAN: intrinsic and rescaled rewards by hand, what each update learns, a run as any other."""

import math

import pytest
import torch
from helpers import LENGTH, batch, build, moved, sentences, weights

from seqgen.algorithms.leakgan import intrinsic_rewards, rescaled
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD

SMALL = {"discriminator.filters": 0.02, "discriminator_pretraining_steps": 0}
FEATURES = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [2.0, 1.0]]])  # after 0 to 3 tokens
GOALS = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_intrinsic_rewards_by_hand():
    # the last step: (2, 0) and (1, 0); (0, 3) and (0, 1); (0, -2) and (0.6, -0.8)
    one = [1.0, 1.0, 0.8]
    assert intrinsic_rewards(FEATURES, GOALS, 1).tolist() == [pytest.approx(one)]
    # the last two: (2, 3) and (1, 0) as well; (0, 1) and (0, 1)
    two = [1.0, (1 + 2 / math.sqrt(13)) / 2, (0.8 + 1.0) / 2]
    assert intrinsic_rewards(FEATURES, GOALS, 2).tolist() == [pytest.approx(two)]
    # up to five, of which there are three: (2, 1) and (1, 0)
    five = [*two[:2], (0.8 + 1.0 + 2 / math.sqrt(5)) / 3]
    assert intrinsic_rewards(FEATURES, GOALS, 5).tolist() == [pytest.approx(five)]


def test_rewards_are_rescaled_by_their_ranks_among_those_of_their_position():
    rewards = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.5, 9.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    found = rescaled(rewards, mask, 12.0)
    third = [sigmoid(12 * (0.5 - rank / 3)) for rank in (1, 3, 2)]
    half = [sigmoid(12 * (0.5 - rank / 2)) for rank in (2, 1)]
    assert found[:, 0].tolist() == pytest.approx(third, rel=1e-5)
    assert found[:2, 1].tolist() == pytest.approx(half, rel=1e-5)
    assert rescaled(torch.full((4, 1), 0.3), torch.ones(4, 1, dtype=bool), 12.0)[:, 0].tolist() == (
        pytest.approx([sigmoid(3.0)] * 4)  # all of rank 1
    )


def by_hand(monkeypatch, horizon):
    algorithm = build("leakgan", SMALL | {"goal_horizon": horizon})
    goals = torch.nn.Parameter(GOALS.clone())
    monkeypatch.setattr(algorithm.policy, "leak", lambda tokens: FEATURES)
    algorithm.manager.forward = lambda features, state: (goals, state)
    return algorithm, goals


def test_the_manager_names_the_directions_that_earn_much(monkeypatch):
    algorithm, goals = by_hand(monkeypatch, 2)
    # two tokens: changes within two steps, but not beyond the end, are (2, 3) and (0, 3)
    tokens = torch.tensor([[5, EOS, PAD]])
    earned, _ = algorithm.follow(tokens, torch.tensor([[0.5, 7.0, 0.0]]))
    assert earned.item() == pytest.approx(0.5 * 2 / math.sqrt(13) + 7.0)
    (gradient,) = torch.autograd.grad(earned, goals)
    assert gradient[0, 2].tolist() == [0.0, 0.0]
    # the part of (2, 3) / √13 across the goal (1, 0)
    assert gradient[0, 0].tolist() == pytest.approx([0.0, 0.5 * 3 / math.sqrt(13)], abs=1e-6)


def test_the_worker_earns_the_intrinsic_reward_and_the_manager_the_ranked_one(monkeypatch):
    algorithm, _ = by_hand(monkeypatch, 1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    rollout = Rollout(torch.tensor([[5, 6, EOS]]), mask, torch.tensor([[0.2, 0.4, 0.6]]))
    seen = []
    kind = type(algorithm).__mro__[1]
    monkeypatch.setattr(kind, "advantages", lambda self, given, *rest: seen.append(given) or (given, {}))
    _, losses = algorithm.advantages(rollout, torch.zeros(1, 3, 11), 0.0)
    assert seen[0].rewards.tolist() == [pytest.approx([1.0, 1.0, 0.8])]
    # alone at its position a token has rank 1 of 1
    wanted = -sigmoid(-6.0) * (1.0 + 1.0 + 0.8) / 3
    assert losses[algorithm.optimizers["manager"]].item() == pytest.approx(wanted, rel=1e-5)


def test_updates_by_likelihood_are_interleaved(monkeypatch):
    algorithm = build("leakgan", SMALL | {"likelihood_every": 3, "discriminator_pretraining_steps": 1})
    steps = [algorithm.step(batch(seed=i), i / 7) for i in range(7)]
    assert ["reward" in each for each in steps] == [False, True, False, True, True, False, True]
    assert all(("goal_cosine" in each) != ("reward" in each) for each in steps)
    assert all("nll" not in each for each in steps if "reward" in each)


def test_the_moving_average_follows_every_update_of_the_worker():
    algorithm = build("leakgan", SMALL | {"likelihood_every": 2, "ema_decay": 0.75})
    for i in range(2):
        old = weights(algorithm.average)
        algorithm.step(batch(seed=i), 0.0)
        for name, now in algorithm.generator.named_parameters():
            mean = dict(algorithm.average.named_parameters())[name]
            torch.testing.assert_close(mean, 0.75 * old[name] + 0.25 * now, rtol=1e-5, atol=1e-6)


def test_while_the_discriminator_is_pretrained_the_worker_rests():
    algorithm = build("leakgan", SMALL | {"discriminator_pretraining_steps": 3})
    before = weights(algorithm)
    for i in range(2):
        algorithm.step(batch(seed=i), 0.0)
    parts = {name.split(".")[0] for name in moved(algorithm, before)}
    assert parts == {"discriminator", "manager", "gate"}


def test_it_starts_at_the_likelihood_of_its_run_and_follows_the_goals_after_that():
    start, algorithm = build("mle", seed=3), build("leakgan", SMALL)
    algorithm.start_from(start)
    tokens = sentences()
    torch.testing.assert_close(algorithm.log_likelihood(tokens), start.log_likelihood(tokens))
    with torch.no_grad():
        algorithm.gate.factors.weight.normal_()
    assert (algorithm.log_likelihood(tokens) - start.log_likelihood(tokens)).abs().max() > 0.01
    shared = sum(name.startswith("discriminator.") for name in algorithm.state_dict())
    assert shared == len(algorithm.discriminator.state_dict())


def test_completions_follow_the_goals_too():
    algorithm = build("leakgan", SMALL | {"rollouts": 31})
    with torch.no_grad():
        algorithm.average.head.offset[9] = 100.0  # it generates nines until the end
    tokens = sentences()
    rewards = algorithm.rollout_rewards(tokens, lambda whole: (whole == 9).float().sum(dim=1), torch.sigmoid)
    nines = int((tokens[0, :1] == 9).sum())
    assert rewards[0, 0].item() == pytest.approx(nines + LENGTH - 1)
    assert algorithm.completer.worker is algorithm.average
    assert algorithm.completer.manager is algorithm.manager


def test_bfloat16():
    algorithm = build("leakgan", SMALL | {"bf16": True, "likelihood_every": 2})
    for i in range(3):
        assert all(math.isfinite(float(value)) for value in algorithm.step(batch(seed=i), i / 3).values())


def test_settings_out_of_range():
    config = build("leakgan", SMALL).config
    for wrong in ({"goal_horizon": 0}, {"likelihood_every": 1}, {"rescaling": -1.0}):
        with pytest.raises(UserError, match="is out of range"):
            settings.override(config, wrong)
    for wrong in ({"discriminator.kind": "cnn"}, {"discriminator.kind": "rnn", "bidirectional": True}):
        with pytest.raises(UserError, match="leakgan needs a discriminator's features of prefixes: give"):
            settings.override(config, wrong)


def test_worker_and_gate_share_a_loss_and_the_manager_has_its_own(monkeypatch):
    seen = []
    monkeypatch.setattr(
        optim, "update", lambda losses, clip: seen.append(losses) or dict.fromkeys(losses, 0.0)
    )
    algorithm = build("leakgan", SMALL)
    algorithm.generator_step(batch(), 0.0, sentences())
    names = {name for name, optimizer in algorithm.optimizers.items() if optimizer in seen[0]}
    assert names == {"generator", "gate", "manager"}
    assert seen[0][algorithm.optimizers["generator"]] is seen[0][algorithm.optimizers["gate"]]
