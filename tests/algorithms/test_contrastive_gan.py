"""The contrastive GAN: what its encoder learns, what its rewards are, and that they move a generator."""

import helpers
import pytest
import torch
import torch.nn.functional as F
from helpers import LENGTH, V, same

from seqgen.algorithms.contrastive_gan import ContrastiveEncoderConfig, ContrastiveGANConfig
from seqgen.core import optim
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.functional import contrastive_losses

SMALL = {
    "discriminator.dropout": 0.1,
    "discriminator.lr": 1e-2,
    "batch_size": 6,
    "discriminator_pretraining_steps": 0,
    "entropy_coefficient": 0.0,
}
RANKGAN = {"loss": "ranking", "reward": "ranking", "temperature": 0.5}
LOGISTIC = {"loss": "logistic", "strength": 3.0, "gamma": 0.5}
KINDS = [{}, {"loss": "nt_xent"}, RANKGAN, LOGISTIC]


def build(seed=0, **values):
    return helpers.build("contrastive", SMALL | values, seed=seed)


def sentences(rows, low=4, high=V, seed=1):
    """Five words of ids low … high - 1, and EOS."""
    words = torch.randint(low, high, (rows, 5), generator=torch.Generator().manual_seed(seed))
    return F.pad(F.pad(words, (0, 1), value=EOS), (0, 1), value=PAD)


@pytest.mark.parametrize("values", KINDS)
def test_the_encoder_learns_what_is_real_and_its_rewards_say_so(values):
    for seed in range(3):
        algorithm = build(seed, **values)
        for i in range(80):
            algorithm.discriminator_step(sentences(31, high=8, seed=i), sentences(31, seed=100 + i))
        good, bad = sentences(17, high=8, seed=777), sentences(17, low=8, seed=778)
        tokens = torch.cat((good, bad))
        rewards = algorithm.token_rewards(tokens, tokens != PAD, good)[:, 5]  # at EOS
        assert rewards[:17].mean() > rewards[17:].mean()
        assert values in (KINDS[1], LOGISTIC) or rewards[:17].min() > rewards[17:].max()


@pytest.mark.parametrize("reward", ["distance", "ranking"])
def test_the_last_tokens_reward_is_the_reward_of_the_sentence(reward, monkeypatch):
    algorithm = build(reward=reward, temperature=0.5)
    tokens, real, fake = sentences(5), sentences(7, seed=2), sentences(7, seed=3)
    monkeypatch.setattr(algorithm, "generate", lambda n: fake[:n])
    rewards = algorithm.token_rewards(tokens, tokens != PAD, real)
    algorithm.discriminator.eval()
    with torch.no_grad():
        embeddings, near, far = (algorithm.discriminator(part) for part in (tokens, real, fake))
    if reward == "distance":
        wanted = contrastive_losses.distance_reward(embeddings, near, far)
    else:
        wanted = contrastive_losses.ranking_reward(embeddings, near, far, gamma=2.0)
    assert torch.allclose(rewards[:, 5], wanted, atol=1e-6)
    assert not rewards[:, 6].any()


def test_each_loss_is_of_two_augmentations_of_the_real_and_one_of_the_fake(monkeypatch):
    losses_seen = []
    monkeypatch.setattr(optim, "update", lambda losses, clip: losses_seen.append(next(iter(losses.values()))))
    first, second, fake = (torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for values in KINDS:
        algorithm = build(**values)
        monkeypatch.setattr(algorithm, "_embed", lambda batches: [first, second, fake])
        algorithm.discriminator_step(sentences(5), sentences(5))
    anchors = torch.arange(15) < 10
    wanted = (
        contrastive_losses.supervised_contrastive(torch.cat((first, second, fake)), anchors, anchors=anchors),
        contrastive_losses.nt_xent(first, second, others=fake, temperature=0.1),
        contrastive_losses.ranking_loss(first, second, fake, gamma=2.0),
        contrastive_losses.logistic_contrastive(first, second, others=fake, strength=3.0, gamma=0.5),
    )
    assert [float(loss) for loss in losses_seen] == pytest.approx([float(loss) for loss in wanted], rel=1e-5)


def test_augmentations_mask_both_sides_and_rewards_see_whole_sentences_without_unknown_words():
    algorithm = build(mask_rate=0.5)
    seen = []
    read = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or read(tokens)
    real = sentences(31)
    real[:3, 0] = UNK
    algorithm.discriminator_step(real, sentences(31, seed=2)[:, :6])  # of another T
    first, second, fake = seen[0].split([28, 28, 31])
    for tokens in (first, second, fake):
        assert 0.3 < (tokens[:, :5] == UNK).float().mean() < 0.7
    assert not torch.equal(first, second)
    seen.clear()
    algorithm.token_rewards(sentences(2), torch.ones(2, LENGTH) > 0, real)
    assert [len(tokens) for tokens in seen[:2]] == [28, 31]
    assert not any((tokens == UNK).any() for tokens in seen)


@pytest.mark.parametrize("values", [{}, RANKGAN])
def test_its_reward_alone_moves_a_generator_towards_the_real_sentences(values):
    common = {
        "lr": 2e-2,
        "teacher_forcing": 0.0,
        "target_entropy": 0.0,
        "batch_size": 29,
        "discriminator_steps": 1,
    }
    gained = 0.0
    for seed in range(3):
        algorithm = build(seed, **common, discriminator_pretraining_steps=10, **values)
        real = algorithm.sample(40 * 29, forbid=(UNK, *range(8, V))).tokens  # its own, but of four words only
        before = fraction_below_8(algorithm)
        for i, part in enumerate(real.split(29)):
            algorithm.step(Batch(part), i / 40)
        gained += (fraction_below_8(algorithm) - before) / 3
    assert gained > 0.15


def fraction_below_8(algorithm):
    tokens = algorithm.samples(500)
    return float((tokens[tokens > UNK] < 8).float().mean())


def test_it_starts_from_a_generator_and_so_does_its_encoder():
    pretrained = helpers.build("mle", seed=3)
    algorithm, apart = build(), build(**{"discriminator.kind": "rnn"})
    for each in (algorithm, apart):
        each.start_from(pretrained)
        assert same(each.generator, pretrained.generator)
        assert same(each.average, pretrained.generator)
    assert torch.equal(algorithm.discriminator.rnn.weight_hh_l0, pretrained.generator.rnn.weight_hh_l0)
    assert apart.discriminator.embedding.weight.shape == (V, 5)
    again = build(seed=5)
    again.start_from(algorithm)
    assert torch.equal(again.generator.head.weight, pretrained.generator.head.weight)


def test_settings_out_of_range():
    for wrong in ({"temperature": 0.0}, {"mask_rate": 1.5}, {"batch_size": 1}):
        with pytest.raises(UserError, match=f"setting {next(iter(wrong))}=.* is out of range"):
            ContrastiveGANConfig(**wrong)
    with pytest.raises(UserError, match="setting projection_dim=1 is out of range"):
        ContrastiveEncoderConfig(projection_dim=1)
