import pytest
import torch

from seqgen.algorithms.rewards import (
    advantages,
    batch_mean,
    constant,
    leave_one_out,
    noise,
    normalise,
    value_loss,
)
from seqgen.data.tokenizer import EOS, PAD

TOKENS = torch.tensor([[4, 5, EOS, PAD, PAD], [6, EOS, PAD, PAD, PAD], [7, 8, 9, 4, 5]])
MASK = TOKENS != PAD
REWARDS = torch.tensor([[1.0, 2.0, 6.0, 9.0, 9.0], [4.0, 8.0, 9.0, 9.0, 9.0], [1.0, 5.0, 2.0, 3.0, 7.0]])
"""9 stands at padding, and must never be seen."""


def test_constant_is_the_same_at_every_real_position():
    assert torch.equal(constant(2.5)(TOKENS, MASK), MASK * 2.5)


def test_noise_knows_nothing_and_follows_its_generator():
    def rewards(seed: int) -> torch.Tensor:
        return noise(torch.Generator().manual_seed(seed))(TOKENS, MASK)

    assert torch.equal(rewards(3), rewards(3))
    assert not torch.equal(rewards(3), rewards(4))
    assert (rewards(3)[~MASK] == 0).all()
    many = noise(torch.Generator().manual_seed(0))(
        torch.ones(101, 97, dtype=torch.long), torch.ones(101, 97).bool()
    )
    # 9,797 draws: the mean has a standard error of 0.289 / 99 = 0.003
    assert many.mean().item() == pytest.approx(0.5, abs=0.012)
    assert many.var().item() == pytest.approx(1 / 12, rel=0.05)
    assert many.min() >= 0
    assert many.max() < 1


def test_batch_mean_by_hand():
    # (1 + 4 + 1) / 3, (2 + 8 + 5) / 3, (6 + 2) / 2, 3, 7
    expected = torch.tensor([2.0, 5.0, 4.0, 3.0, 7.0]) * MASK
    assert torch.equal(batch_mean(REWARDS, MASK), expected)


def test_leave_one_out_by_hand():
    # first column: (4 + 1) / 2, (1 + 1) / 2, (1 + 4) / 2; third: the other one's; then alone: its own
    expected = [[2.5, 6.5, 2.0, 0.0, 0.0], [1.0, 3.5, 0.0, 0.0, 0.0], [2.5, 5.0, 6.0, 3.0, 7.0]]
    assert torch.equal(leave_one_out(REWARDS, MASK), torch.tensor(expected))


def test_leave_one_out_does_not_contain_what_it_is_taken_off():
    changed = REWARDS.clone()
    changed[0, 0] += 100
    before, after = leave_one_out(REWARDS, MASK), leave_one_out(changed, MASK)
    assert after[0, 0] == before[0, 0]
    assert (after[1:, 0] != before[1:, 0]).all()


@pytest.mark.parametrize("baseline", [batch_mean, leave_one_out])
def test_a_constant_reward_has_no_advantage(baseline):
    rewards = constant(0.3)(TOKENS, MASK)
    gained = advantages(rewards, baseline(rewards, MASK), MASK)
    torch.testing.assert_close(gained, torch.zeros(3, 5), rtol=0, atol=1e-7)
    torch.testing.assert_close(normalise(gained, MASK), torch.zeros(3, 5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("baseline", [batch_mean, leave_one_out])
@pytest.mark.parametrize("function", [advantages, None])
def test_padding_is_irrelevant(baseline, function):
    def result(rewards, mask):
        values = baseline(rewards, mask)
        return values if function is None else function(rewards, values, mask)

    padded = torch.cat((REWARDS, torch.full((3, 2), 9.0)), dim=1)
    mask = torch.cat((MASK, torch.zeros(3, 2).bool()), dim=1)
    assert torch.equal(result(padded, mask)[:, :5], result(REWARDS, MASK))
    assert (result(REWARDS, MASK)[~MASK] == 0).all()
    order = torch.tensor([2, 0, 1])
    assert torch.equal(result(REWARDS[order], MASK[order]), result(REWARDS, MASK)[order])


def test_advantages_by_hand():
    gained = advantages(REWARDS, batch_mean(REWARDS, MASK), MASK)
    expected = [[-1.0, -3.0, 2.0, 0.0, 0.0], [2.0, 3.0, 0.0, 0.0, 0.0], [-1.0, 0.0, -2.0, 0.0, 0.0]]
    assert torch.equal(gained, torch.tensor(expected))


def test_normalise_by_hand():
    mask = torch.tensor([[True, True, False], [True, True, False]])
    values = torch.tensor([[1.0, 3.0, 50.0], [7.0, 9.0, 50.0]])
    # mean 5, deviations -4, -2, 2, 4, variance (16 + 4 + 4 + 16) / 4 = 10
    expected = torch.tensor([[-4.0, -2.0, 0.0], [2.0, 4.0, 0.0]]) / 10**0.5
    torch.testing.assert_close(normalise(values, mask), expected, rtol=1e-6, atol=0)
    kept = torch.tensor([[1.0, 3.0, 0.0], [7.0, 9.0, 0.0]]) / 10**0.5
    torch.testing.assert_close(normalise(values, mask, centre=False), kept, rtol=1e-6, atol=0)


def test_normalise_does_not_blow_rounding_up():
    values = torch.tensor([[0.3, 0.3, 0.3 + 3e-8]])
    assert values[0, 2] != values[0, 0]
    assert normalise(values, torch.ones(1, 3).bool()).abs().max() < 1e-6


def test_normalise_leaves_equal_values_finite():
    values = torch.full((2, 3), 4.0)
    mask = torch.ones(2, 3).bool()
    assert torch.equal(normalise(values, mask), torch.zeros(2, 3))
    assert torch.equal(normalise(values, mask, centre=False), values)
    assert torch.equal(normalise(values, ~mask), torch.zeros(2, 3))


def test_value_loss_by_hand():
    values = torch.zeros(3, 5, requires_grad=True)
    returns = REWARDS.clone().requires_grad_()
    loss = value_loss(values, returns, MASK)
    # squares 1, 4, 36 | 16, 64 | 1, 25, 4, 9, 49 over ten positions
    assert loss.item() == pytest.approx(20.9)
    loss.backward()
    assert returns.grad is None
    torch.testing.assert_close(values.grad, -2 * REWARDS * MASK / 10, rtol=1e-6, atol=0)
