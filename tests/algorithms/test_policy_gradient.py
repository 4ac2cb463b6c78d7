"""The policy gradient that the games share: its gradient, what follows it, what holds it, what it moves."""

import pytest
import torch

from seqgen import algorithms
from seqgen.algorithms import policy_gradient
from seqgen.algorithms.policy_gradient import PolicyConfig
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import shifted

V, LENGTH = 13, 7
GAMES = ["seqgan", "contrastive"]
SMALL = {
    "generator.embedding": 5,
    "generator.hidden": 11,
    "generator.dropout": 0.1,
    "batch_size": 3,
    "d_first": 0,
    "rollouts": 2,
}


def build(name="seqgan", **values):
    torch.manual_seed(0)
    cls = algorithms.get(name)
    algorithm = cls(settings.override(cls.Config(), SMALL | values), vocab_size=V, length=LENGTH)
    algorithm.configure()
    return algorithm


def real(rows=6, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, LENGTH), generator=rng)
    for row, end in enumerate(torch.randint(1, LENGTH, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def weights(module):
    return [p.clone() for p in module.parameters()]


def same(module, before):
    return all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def test_the_loss_is_that_of_reinforce(monkeypatch):
    values = {
        "baseline": "none",
        "normalise": False,
        "teacher_forcing": 0.0,
        "hold_entropy": 0.0,
        "bonus": 0.3,
    }
    algorithm = build(**values)
    rewards = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(2))
    drawn = real(rows=3)
    monkeypatch.setattr(algorithm, "write", lambda n: drawn)
    caught = []

    def update(losses, clip):
        caught.append(losses[algorithm.optimizers["generator"]])
        return {optimizer: 0.0 for optimizer in losses}

    monkeypatch.setattr(optim, "update", update)
    figures = algorithm.move(real(), 0.0, lambda tokens, mask: rewards * mask)
    algorithm.generator.eval()
    logits, _ = algorithm.generator(shifted(drawn), algorithm.generator.initial(3))
    logits[..., UNK] -= 1e4  # the game has no unknown words
    played = torch.distributions.Categorical(logits=logits)
    mask = drawn != PAD
    terms = rewards * played.log_prob(drawn) + 0.3 * played.entropy()
    assert caught[0].item() == pytest.approx(-terms[mask].mean().item(), rel=1e-5)
    assert float(figures["policy_entropy"]) == pytest.approx(played.entropy()[mask].mean().item(), rel=1e-5)
    last = mask.sum(dim=1) - 1
    assert float(figures["reward"]) == pytest.approx(rewards[torch.arange(3), last].mean().item())
    reference = torch.autograd.grad(-terms[mask].mean(), algorithm.generator.head.weight)[0]
    given = torch.autograd.grad(caught[0], algorithm.generator.head.weight)[0]
    assert torch.allclose(given, reference, atol=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_it_moves_the_generator_and_its_shadow_alone(name):
    algorithm = build(name, baseline="learned")
    judge = weights(algorithm.discriminator)
    generator, shadow, value = (weights(m) for m in (algorithm.generator, algorithm.policy, algorithm.value))
    algorithm.move(real(), 0.0, lambda tokens, mask: mask * torch.rand(tokens.shape))
    assert same(algorithm.discriminator, judge)
    assert not same(algorithm.generator, generator)
    assert not same(algorithm.policy, shadow)
    assert not same(algorithm.value, value)
    assert all(p.grad is None for p in algorithm.parameters())


@pytest.mark.parametrize("name", GAMES)
def test_the_discriminator_learns_alone_first_and_leaves_the_generator_alone(name):
    algorithm = build(name, d_first=1)
    generator, shadow, judge = (
        weights(m) for m in (algorithm.generator, algorithm.policy, algorithm.discriminator)
    )
    assert "reward" not in algorithm.step(real(), 0.0)
    assert same(algorithm.generator, generator)
    assert same(algorithm.policy, shadow)
    assert not same(algorithm.discriminator, judge)
    assert "reward" in algorithm.step(real(), 0.5)
    assert int(algorithm.updates) == 2


def test_the_rollout_policy_lags():
    algorithm = build(lag=0.75)
    old = weights(algorithm.policy)
    algorithm.step(real(), 0.0)
    new = algorithm.generator.parameters()
    for was, now, generator in zip(old, algorithm.policy.parameters(), new, strict=True):
        assert torch.allclose(now, 0.75 * was + 0.25 * generator, atol=1e-6)


def test_a_constant_reward_teaches_nothing_over_a_baseline():
    algorithm = build(reward="constant", teacher_forcing=0.0, hold_entropy=0.0, bonus=0.0)
    before = weights(algorithm.generator)
    for i in range(2):
        algorithm.step(real(seed=i), i / 2)
    assert same(algorithm.generator, before)


def test_a_reward_for_one_token_makes_it_likelier():
    algorithm = build(teacher_forcing=0.0, lr=1e-2, batch_size=31)
    wanted = 7
    share = lambda: (algorithm.sample(500).tokens == wanted).float().mean()  # noqa: E731
    torch.manual_seed(2)
    before = share()
    for _ in range(40):
        algorithm.move(real(), 0.0, lambda tokens, mask: (tokens == wanted).float() * mask)
    assert share() > 2 * before


def test_the_bonus_holds_the_entropy():
    algorithm = build(bonus=0.0)
    algorithm.hold(torch.tensor(2.0))
    algorithm.hold(torch.tensor(1.5))  # 0.05 · (2 - 1.5) above the start
    assert float(algorithm.bonus) == pytest.approx(0.025)
    algorithm.hold(torch.tensor(3.0))  # 0.05 · (2 - 3) below that: a penalty
    assert float(algorithm.bonus) == pytest.approx(-0.025)
    algorithm.hold(torch.tensor(1e4))
    assert float(algorithm.bonus) == -0.5


def test_rewards_of_rollouts_are_of_what_the_lagging_policy_writes():
    algorithm = build(rollouts=31)
    tokens = algorithm.write(5)
    mask = tokens != PAD

    def only_of_nines(whole):
        return (whole == 9).float().sum(dim=1)

    with torch.no_grad():
        algorithm.policy.head.offset[9] = 100.0  # the shadow writes nines until the end
    worth = algorithm.rolled_out(tokens, only_of_nines, torch.sigmoid)
    own = (tokens == 9).int()
    for row in range(5):
        length = int(mask[row].sum())
        for t in range(length - 1):
            assert worth[row, t].item() == pytest.approx(int(own[row, : t + 1].sum()) + LENGTH - t - 1)
        assert worth[row, length - 1].item() == pytest.approx(int(own[row].sum()))
    assert not worth[~mask].any()


def test_the_game_has_no_unknown_words():
    algorithm = build()
    with torch.no_grad():
        algorithm.generator.head.offset[UNK] = 100.0
    assert not (algorithm.write(300) == UNK).any()
    tokens = real(rows=31)
    tokens[:17, 0] = UNK
    assert torch.equal(policy_gradient.known(tokens), tokens[17:])
    assert torch.equal(policy_gradient.known(tokens[:17]), tokens[:17])  # kept rather than none


def test_settings_out_of_range():
    for wrong in ({"rollouts": 0}, {"max_rows": 0}, {"lag": 1.1}, {"bonus": -1.0}, {"teacher_forcing": -1.0}):
        with pytest.raises(UserError, match=f"setting {next(iter(wrong))}=.* is out of range"):
            PolicyConfig(**wrong)
