"""SeqGAN's control with shuffled labels, the user's reward and the leash."""

import pytest
import torch
from helpers import V, batch, build, sentences

from seqgen.algorithms import rewards
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.algorithms.seqgan import SeqGANConfig, shuffled
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD
from seqgen.data.tokenizer_training import numbered_tokenizer
from seqgen.functional.gan_losses import gan_loss
from seqgen.generation.sample import log_prob


def test_shuffled_labels_keep_the_sentences_and_the_numbers_of_both_kinds():
    torch.manual_seed(0)
    real, fake = sentences(7, 5, seed=1), sentences(11, 3, seed=2)
    one, other = shuffled(real, fake)
    assert (one.shape, other.shape) == ((7, 5), (11, 5))
    widened = torch.cat((real, torch.nn.functional.pad(fake, (0, 2), value=PAD)))
    both = torch.cat((one, other))
    assert sorted(both.tolist()) == sorted(widened.tolist())
    assert not torch.equal(both, widened)


def test_only_the_control_trains_its_discriminator_on_them():
    real, fake = sentences(6, seed=1), sentences(6, seed=2)
    losses = {}
    for reward in ("discriminator", "shuffled_labels"):
        algorithm = build("seqgan", {"reward": reward})
        algorithm.discriminator.eval()
        torch.manual_seed(3)
        losses[reward] = float(algorithm.discriminator_loss(real, fake)[0].detach())
        torch.manual_seed(3)
        given = (real, fake) if reward == "discriminator" else shuffled(real, fake)
        expected = gan_loss("cross_entropy")
        with torch.no_grad():
            logits = [algorithm.discriminator(part) for part in given]
        assert losses[reward] == float(expected.discriminator(*logits))
    assert losses["discriminator"] != losses["shuffled_labels"]


@pytest.fixture
def rewarded(tmp_path, monkeypatch):
    """Return a builder of SeqGAN with a reward that counts words, and other settings."""
    (tmp_path / "mine.py").write_text(
        "def words(sentences):\n    return [len(s.split()) for s in sentences]\n"
    )
    monkeypatch.chdir(tmp_path)

    def make(**values):
        algorithm = build("seqgan", {"reward": "mine.py:words"} | values)
        algorithm.tokenizer = numbered_tokenizer(V)
        return algorithm

    return make


def advantages(algorithm, tokens):
    mask = tokens != PAD
    rollout = Rollout(tokens, mask, torch.rand(mask.shape, generator=torch.Generator().manual_seed(5)) * mask)
    algorithm._metrics = {}
    return algorithm.advantages(rollout, torch.zeros(0), 0.0)[0], rollout


def test_advantages_are_mixed_after_both_have_been_normalised(rewarded):
    algorithm = rewarded(reward_weight=0.25)
    tokens = sentences(7, 5, seed=1)
    found, rollout = advantages(algorithm, tokens)
    earned = torch.tensor([len(algorithm.tokenizer.decode(row).split()) for row in tokens.tolist()])
    mask = rollout.mask.float()
    spread = earned[:, None] * mask
    mean = spread.sum() / mask.sum()
    deviation = (((spread - mean) * mask).square().sum() / mask.sum()).sqrt()
    by_user = (spread - mean) / deviation * mask
    baseline = rewards.leave_one_out(rollout.rewards, rollout.mask)
    by_discriminator = rewards.normalise((rollout.rewards - baseline) * mask, rollout.mask)
    torch.testing.assert_close(found, 0.75 * by_discriminator + 0.25 * by_user, rtol=1e-5, atol=1e-6)
    assert algorithm._metrics["user_reward"] == pytest.approx(float(earned.double().mean()))
    assert algorithm._metrics["user_reward_deviation"] == pytest.approx(
        float(earned.double().std(correction=0))
    )


def test_the_leash_charges_each_token_what_it_and_the_later_ones_cost():
    algorithm = build("seqgan", {"leash": 0.3})
    free = build("seqgan", {})
    free.load_state_dict(algorithm.state_dict(), strict=False)
    with torch.no_grad():
        algorithm.origin.head.weight.add_(torch.randn(algorithm.origin.head.weight.shape) * 0.5)
    tokens = sentences(7, 5, seed=1)
    found, rollout = advantages(algorithm, tokens)
    plain, _ = advantages(free, tokens)
    ratio = log_prob(algorithm.generator.eval(), tokens) - log_prob(algorithm.origin.eval(), tokens)
    cost = ratio.flip(1).cumsum(dim=1).flip(1)
    expected = plain - 0.3 * (cost - rewards.leave_one_out(cost, rollout.mask)) * rollout.mask
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(algorithm._metrics["kl"]) == pytest.approx(float(ratio.sum(dim=1).mean()), rel=1e-5)


def test_the_discriminator_left_out_is_not_asked(rewarded, monkeypatch):
    algorithm = rewarded(reward_weight=1.0, discriminator_pretraining_steps=0)
    monkeypatch.setattr(algorithm, "rollout_rewards", lambda *_: pytest.fail("rolled out"))
    metrics = algorithm.step(batch(), 0.0)
    assert metrics["reward"] == 0
    assert metrics["user_reward"] > 0


def test_a_reward_is_learned(rewarded):
    """By a reward for words sentences get longer."""
    algorithm = rewarded(reward_weight=1.0, teacher_forcing=0.0, lr=0.02, discriminator_pretraining_steps=0)

    def words():
        return float((algorithm.sample(500).tokens != PAD).float().sum(dim=1).mean())

    torch.manual_seed(0)
    before = words()
    for i in range(25):
        algorithm.step(batch(seed=i), i / 25)
    assert words() > before + 0.5


def test_no_such_reward():
    with pytest.raises(UserError, match="no reward 'noize'; did you mean 'noise'"):
        SeqGANConfig(reward="noize")
