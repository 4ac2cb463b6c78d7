"""The contrastive game: what its encoder learns, what its rewards are, and that they move a generator."""

import pytest
import torch
import torch.nn.functional as F

from seqgen import algorithms
from seqgen.algorithms.contrastive_gan import ContrastiveGANConfig, JudgeConfig
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional import contrastive_losses

V, LENGTH = 13, 7
SMALL = {
    "generator.embedding": 5,
    "generator.hidden": 11,
    "generator.dropout": 0.1,
    "discriminator.code": 3,
    "discriminator.dropout": 0.1,
    "discriminator.lr": 1e-2,
    "batch_size": 6,
    "d_first": 0,
    "rollouts": 2,
}
RANKGAN = {"loss": "ranking", "reward": "ranking", "temperature": 0.5}
KINDS = [{}, {"loss": "nt_xent"}, RANKGAN]


def build(seed=0, **values):
    torch.manual_seed(seed)
    cls = algorithms.get("contrastive")
    algorithm = cls(settings.override(cls.Config(), SMALL | values), vocab_size=V, length=LENGTH)
    algorithm.configure()
    return algorithm


def sentences(rows, low=4, high=V, seed=1):
    """Five words of ids low … high - 1, and EOS."""
    words = torch.randint(low, high, (rows, 5), generator=torch.Generator().manual_seed(seed))
    return F.pad(F.pad(words, (0, 1), value=EOS), (0, 1), value=PAD)


@pytest.mark.parametrize("values", KINDS)
def test_the_encoder_learns_what_is_real_and_its_rewards_say_so(values):
    for seed in range(3):
        algorithm = build(seed, **values)
        for i in range(40):
            algorithm.discriminate(sentences(31, high=8, seed=i), sentences(31, seed=100 + i))
        good, bad = sentences(17, high=8, seed=777), sentences(17, low=8, seed=778)
        tokens = torch.cat((good, bad))
        worth = algorithm.worth(tokens, tokens != PAD, real=good)[:, 5]  # at EOS
        assert worth[:17].mean() > worth[17:].mean()
        assert values == KINDS[1] or worth[:17].min() > worth[17:].max()


@pytest.mark.parametrize("reward", ["distance", "ranking"])
def test_the_last_tokens_worth_is_the_reward_of_the_sentence(reward, monkeypatch):
    algorithm = build(reward=reward, temperature=0.5)
    tokens, real, made = sentences(5), sentences(7, seed=2), sentences(7, seed=3)
    monkeypatch.setattr(algorithm, "write", lambda n: made[:n])
    worth = algorithm.worth(tokens, tokens != PAD, real=real)
    algorithm.discriminator.eval()
    with torch.no_grad():
        codes, near, far = (algorithm.discriminator(part) for part in (tokens, real, made))
    if reward == "distance":
        wanted = contrastive_losses.distance_reward(codes, near, far)
    else:
        wanted = contrastive_losses.ranking_reward(codes, near, far, gamma=2.0)
    assert torch.allclose(worth[:, 5], wanted, atol=1e-6)
    assert not worth[:, 6].any()


def test_each_loss_is_of_two_views_of_the_real_and_one_of_the_made(monkeypatch):
    caught = []
    monkeypatch.setattr(optim, "update", lambda losses, clip: caught.append(next(iter(losses.values()))))
    first, second, made = (torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for values in KINDS:
        algorithm = build(**values)
        monkeypatch.setattr(algorithm, "_codes", lambda batches: [first, second, made])
        algorithm.discriminate(sentences(5), sentences(5))
    anchors = torch.arange(15) < 10
    wanted = (
        contrastive_losses.supervised_contrastive(torch.cat((first, second, made)), anchors, anchors=anchors),
        contrastive_losses.nt_xent(first, second, others=made, temperature=0.1),
        contrastive_losses.ranking_loss(first, second, made, gamma=2.0),
    )
    assert [float(loss) for loss in caught] == pytest.approx([float(loss) for loss in wanted], rel=1e-5)


def test_views_blank_both_sides_and_rewards_see_whole_sentences_without_unknown_words():
    algorithm = build(view_share=0.5)
    seen = []
    read = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or read(tokens)
    real = sentences(31)
    real[:3, 0] = UNK
    algorithm.discriminate(real, sentences(31, seed=2)[:, :6])  # of another T
    first, second, made = seen[0].split([28, 28, 31])
    for tokens in (first, second, made):
        assert 0.3 < (tokens[:, :5] == UNK).float().mean() < 0.7
    assert not torch.equal(first, second)
    seen.clear()
    algorithm.worth(sentences(2), torch.ones(2, LENGTH) > 0, real=real)
    assert [len(tokens) for tokens in seen[:2]] == [28, 31]
    assert not any((tokens == UNK).any() for tokens in seen)


@pytest.mark.parametrize("values", [{}, RANKGAN])
def test_its_reward_alone_moves_a_generator_towards_the_real_sentences(values):
    game = {"lr": 2e-2, "teacher_forcing": 0.0, "hold_entropy": 0.0, "batch_size": 29, "d_steps": 1}
    gained = 0.0
    for seed in range(3):
        algorithm = build(seed, **game, d_first=10, **values)
        real = algorithm.sample(40 * 29, forbid=(UNK, *range(8, V))).tokens  # its own, but of four words only
        before = share_below_8(algorithm)
        for i, batch in enumerate(real.split(29)):
            algorithm.step(batch, i / 40)
        gained += (share_below_8(algorithm) - before) / 3
    assert gained > 0.15


def share_below_8(algorithm):
    tokens = algorithm.samples(500)
    return float((tokens[tokens > UNK] < 8).float().mean())


def test_it_starts_from_a_generator_and_so_does_its_encoder():
    torch.manual_seed(3)
    cls = algorithms.get("mle")
    shape = {name: value for name, value in SMALL.items() if name.startswith("generator.")}
    pretrained = cls(settings.override(cls.Config(), shape), vocab_size=V, length=LENGTH)
    algorithm, apart = build(), build(**{"discriminator.kind": "rnn"})
    for game in (algorithm, apart):
        game.start_from(pretrained)
        for player in (game.generator, game.policy):
            for mine, theirs in zip(player.parameters(), pretrained.generator.parameters(), strict=True):
                assert torch.equal(mine, theirs)
    assert torch.equal(algorithm.discriminator.rnn.weight_hh_l0, pretrained.generator.rnn.weight_hh_l0)
    assert apart.discriminator.embedding.weight.shape == (V, 64)
    again = build(seed=5)
    again.start_from(algorithm)
    assert torch.equal(again.generator.head.weight, pretrained.generator.head.weight)


def test_settings_out_of_range():
    for wrong in ({"temperature": 0.0}, {"view_share": 1.5}, {"batch_size": 1}):
        with pytest.raises(UserError, match=f"setting {next(iter(wrong))}=.* is out of range"):
            ContrastiveGANConfig(**wrong)
    with pytest.raises(UserError, match="setting code=1 is out of range"):
        JudgeConfig(code=1)
