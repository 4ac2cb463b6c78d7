"""What sentences earn, and what is taken off it: rewards, control rewards, returns, baselines, advantages.

Every tensor here is (B, T), and `mask` (B, T) is True at real positions, EOS included. Results are 0 at
padding. Where several processes share a batch, baselines and normalisations are those of the whole.
"""

from typing import Protocol

import torch
from torch import Tensor

from seqgen.core import distributed


class Reward(Protocol):
    """Reward each token of a batch, higher is better: tokens (B, T), mask (B, T) → (B, T)."""

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor: ...


def constant(value: float = 1.0) -> Reward:
    """Reward every token alike: the control that a reward has to beat, for it says nothing about a sentence.

    Without a baseline it raises the likelihood of whatever was sampled, which sharpens the policy and has
    passed for progress (LantaoYu/SeqGAN issue 21). With any baseline below, its advantages are 0.
    """

    def reward(tokens: Tensor, mask: Tensor) -> Tensor:
        return mask.float() * value

    return reward


def noise(rng: torch.Generator | None = None) -> Reward:
    """Reward every token at random, uniform in [0, 1): a control with a spread but no content."""

    def reward(tokens: Tensor, mask: Tensor) -> Tensor:
        return mask.float() * distributed.rand(*tokens.shape, device=tokens.device, generator=rng)

    return reward


def discounted(rewards: Tensor, discount: float) -> Tensor:
    """Return of each token: its own reward and `discount` times the next token's return; (B, T) → (B, T)."""
    returns = torch.zeros_like(rewards)
    later = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        later = rewards[:, t] + discount * later
        returns[:, t] = later
    return returns


def batch_mean(rewards: Tensor, mask: Tensor) -> Tensor:
    """Baseline: the mean at each position, over the sentences that reach it."""
    count = distributed.total(mask.sum(dim=0)).clamp(min=1)
    return distributed.total((rewards * mask).sum(dim=0)) / count * mask


def leave_one_out(rewards: Tensor, mask: Tensor) -> Tensor:
    """Baseline: the mean at each position over the other sentences that reach it (Kool et al. 2019).

    Unlike the batch mean it does not contain the reward that it is taken off, so the gradient stays unbiased.
    A sentence alone at a position has nobody to be compared with: its own reward, so its advantage is 0.
    """
    rewards = rewards * mask
    others = distributed.total(mask.sum(dim=0)) - 1
    mean = (distributed.total(rewards.sum(dim=0)) - rewards) / others.clamp(min=1)
    return torch.where(others > 0, mean, rewards) * mask


def advantages(rewards: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """What each token earned beyond the baseline."""
    return (rewards - baseline) * mask


def normalise(values: Tensor, mask: Tensor, *, centre: bool = True, eps: float = 1e-6) -> Tensor:
    """Give the real positions of a batch mean 0 (where `centre`) and standard deviation 1, over them all.

    The deviation is the population's, √(Σ(x - mean)² / count), in both cases. Where it is at most `eps`,
    which rounding alone can make of rewards that are all alike, values are not divided by it.
    """
    count = distributed.total(mask.sum()).clamp(min=1)
    mean = distributed.total((values * mask).sum()) / count
    centred = (values - mean) * mask
    deviation = (distributed.total(centred.square().sum()) / count).sqrt()
    scale = torch.where(deviation > eps, deviation, 1.0)
    return (centred if centre else values * mask) / scale


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of predicted values (B, T) over real positions; a scalar."""
    errors = (values - returns.detach()).square() * mask
    return errors.sum() / distributed.mean(mask.sum()).clamp(min=1)
