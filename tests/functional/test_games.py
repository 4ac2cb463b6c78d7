import math

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional.gan_losses import GAMES, clipped, cross_entropy, game, least_squares
from seqgen.models.discriminator import RNNDiscriminator, scores


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


REAL = torch.tensor([logit(0.6), logit(0.4)])
FAKE = torch.tensor([logit(0.25), logit(0.1), logit(0.7)])


def test_cross_entropy_by_hand():
    loss, accuracy = cross_entropy(REAL, FAKE)
    real = -(math.log(0.6) + math.log(0.4)) / 2
    fake = -(math.log(0.75) + math.log(0.9) + math.log(0.3)) / 3
    assert loss.item() == pytest.approx((real + fake) / 2, rel=1e-5)
    assert accuracy.item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_smoothing_moves_the_labels_of_real_sentences_only():
    loss, accuracy = cross_entropy(REAL, FAKE, smoothing=0.1)
    real = -sum(0.9 * math.log(p) + 0.1 * math.log(1 - p) for p in (0.6, 0.4)) / 2
    fake = -(math.log(0.75) + math.log(0.9) + math.log(0.3)) / 3
    assert loss.item() == pytest.approx((real + fake) / 2, rel=1e-5)
    assert torch.equal(accuracy, cross_entropy(REAL, FAKE).accuracy)


def test_least_squares_by_hand():
    loss, accuracy = least_squares(torch.tensor([0.75, 0.25]), torch.tensor([0.5, -1.0, 0.25]))
    # ½ · (0.0625 + 0.5625) / 2 + ½ · (0.25 + 1 + 0.0625) / 3; 1 of 2 above ½, 2 of 3 below (½ itself is not)
    assert loss.item() == pytest.approx(0.15625 + 0.21875)
    assert accuracy.item() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_chance():
    blind = torch.zeros(3)
    assert cross_entropy(blind, blind).loss.item() == pytest.approx(math.log(2))
    half = torch.full((3,), 0.5)
    assert least_squares(half, half).loss.item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", GAMES)
def test_a_lower_loss_pulls_real_and_generated_apart_and_rewards_grow_with_logits(name):
    real, fake = torch.zeros(2, requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    loss, accuracy = game(name).loss(real, fake)
    loss.backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    assert not accuracy.requires_grad
    rewards = game(name).reward(torch.tensor([-9.0, 0.25, 0.75, 9.0]))
    assert (rewards.diff() > 0).all()
    assert rewards.min() >= 0
    assert rewards.max() <= 1


def test_rewards_by_hand():
    assert torch.equal(clipped(torch.tensor([-0.5, 0.25, 1.5])), torch.tensor([0.0, 0.25, 1.0]))
    assert game("least_squares").reward is clipped
    assert game("cross_entropy").reward(torch.tensor(logit(0.3))).item() == pytest.approx(0.3)


def test_unknown_game_names_the_nearest():
    with pytest.raises(UserError, match="no discriminator loss 'least_square'; did you mean 'least_squares'"):
        game("least_square")


def test_scores_are_those_of_evaluation_and_leave_the_mode_alone():
    torch.manual_seed(0)
    discriminator = RNNDiscriminator(7, 2, 3, dropout=0.5)
    tokens = torch.tensor([[4, 5, EOS], [6, EOS, PAD], [3, 4, 5], [EOS, PAD, PAD], [6, 6, EOS]])
    discriminator.eval()
    expected = discriminator(tokens).detach()
    discriminator.train()
    discriminator.rnn.eval()
    for rows in (1, 2, 5, 11):
        logits = scores(discriminator, tokens, rows=rows)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-7)
    assert discriminator.training
    assert discriminator.dropout.training
    assert not discriminator.rnn.training


def test_scores_of_no_sentence():
    discriminator = RNNDiscriminator(7, 2, 3)
    assert scores(discriminator, torch.empty(0, 3, dtype=torch.long)).shape == (0,)


def test_scores_reads_a_bounded_number_of_rows_at_a_time():
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, tokens):
            seen.append(len(tokens))
            return tokens[:, 0].float()

    tokens = torch.arange(11)[:, None]
    assert torch.equal(scores(Watched(), tokens, rows=4), torch.arange(11.0))
    assert seen == [4, 4, 3]
