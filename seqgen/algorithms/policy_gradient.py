"""The policy gradient: the generator learns from rewards of its samples, a discriminator's or others.

REINFORCE (Williams 1992) with a reward for every token, an entropy term that holds the policy's entropy
where it started, and teacher forcing beside it. An update is prepare → token_rewards → advantages →
policy_loss; an algorithm replaces the parts in which it differs.

Metrics of an update: `reward`, the mean reward at the last token of the sampled sentences; `policy_entropy`,
nats a token, and `entropy_coefficient`, the weight of the entropy term; `nll`, nats a token of the
teacher-forced batch; `grad_norm` of the generator before clipping.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import TunedConfig
from seqgen.algorithms.mle import log_no_early_end, mean_nll
from seqgen.algorithms.tuned_generator import TunedGenerator
from seqgen.core import distributed, optim, settings
from seqgen.core.device import is_host
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.sample import shifted

ENTROPY_RATE = 0.05
"""How fast the entropy coefficient follows: its change for a nat by which the entropy is off."""
ENTROPY_BOUND = 0.5
"""Largest entropy coefficient, either sign."""


@dataclass(frozen=True)
class PolicyConfig:
    """The policy gradient."""

    target_entropy: float = 1.0
    """fraction of its initial entropy at which the entropy term holds the policy; 0 for a constant weight"""
    entropy_coefficient: float = 0.0
    """weight of the entropy term: constant, or its first value"""
    teacher_forcing: float = 1.0
    """weight of the likelihood of a real batch in every update"""

    def __post_init__(self) -> None:
        settings.bounds(
            self, target_entropy=(0.0, None), entropy_coefficient=(0.0, None), teacher_forcing=(0.0, None)
        )


@dataclass(frozen=True)
class PolicyGradientConfig(TunedConfig):
    """Settings of training by policy gradient."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)


class Rollout(NamedTuple):
    """Sentences that the policy sampled, and what each of their tokens earned."""

    tokens: Tensor
    """(B, T) ids"""
    mask: Tensor
    """(B, T) True at tokens of the sentence: neither padding nor what it is given"""
    rewards: Tensor
    """(B, T)"""


class PolicyGradient(TunedGenerator):
    """A generator that learns by the reward of its own sentences."""

    config: PolicyGradientConfig
    policy_optimizers: ClassVar[tuple[str, ...]] = ("generator",)
    """The optimisers that minimise the policy's loss."""
    forbidden: ClassVar[tuple[int, ...]] = (UNK,)
    """Tokens that the policy does not draw."""
    entropy_coefficient: Tensor
    """The weight of the entropy term; scalar."""
    target_entropy: Tensor
    """The entropy at which it holds the policy, nats a token; NaN before the first update."""

    def __init__(self, config: PolicyGradientConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("entropy_coefficient", torch.tensor(config.policy.entropy_coefficient))
        self.register_buffer("target_entropy", torch.tensor(float("nan")))

    @abstractmethod
    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Reward each token of sampled sentences, given real ones (R, T'); (B, T), (B, T) → (B, T)."""

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator, and what `advantages` learns beside it; return metrics."""
        generator = self.policy
        rollout = self.prepare(context)
        with generator.without_dropout():
            hidden = self.read(rollout)
        advantages, losses = self.advantages(rollout, hidden, progress)
        loss, entropy = self.policy_loss(rollout, hidden, advantages)
        metrics: StepMetrics = {}
        if weight := self.config.policy.teacher_forcing:
            generator.train()
            nll = self.nll(real.tokens)
            loss = loss + weight * nll
            metrics["nll"] = nll.detach()
        learners = [self.optimizers[name] for name in self.policy_optimizers]
        norms = optim.update(dict.fromkeys(learners, loss) | losses, clip=self.config.clip)
        entropy = distributed.mean(entropy)
        self.hold_entropy(entropy)
        last = (rollout.mask * torch.arange(rollout.mask.shape[1], device=entropy.device)).amax(dim=1)
        return metrics | {
            "reward": rollout.rewards.gather(1, last[:, None]).mean(),
            "policy_entropy": entropy,
            "entropy_coefficient": self.entropy_coefficient.clone(),
            "grad_norm": norms[learners[0]],
        }

    def prepare(self, context: Tensor) -> Rollout:
        """Sample sentences and reward their tokens; no longer than the longest of them."""
        tokens = self.generate(distributed.part(self.config.batch_size))
        mask = self.of_sentence(tokens)
        rewards = self.token_rewards(tokens, mask, context)  # before the cut: completions may be longer
        longest = mask.shape[1]
        if is_host(mask.device):
            longest = distributed.maximum(int((tokens != PAD).any(dim=0).sum()))
        return Rollout(tokens[:, :longest], mask[:, :longest], rewards[:, :longest])

    def read(self, rollout: Rollout) -> Tensor:
        """Return what the head reads to draw the tokens of a rollout; (B, T, H)."""
        tokens = rollout.tokens
        return self.policy.hidden(shifted(tokens), self.policy.initial(len(tokens)))[0]

    def nll(self, tokens: Tensor) -> Tensor:
        """Return the loss of teacher forcing by real sentences (B, T): nats a token; scalar."""
        return mean_nll(self.policy, tokens)

    @abstractmethod
    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return what the tokens earned beyond a baseline (B, T), and losses of what is learned for that.

        hidden: what the head reads at each position, (B, T, H). progress: the fraction of its updates done.
        """

    def policy_loss(self, rollout: Rollout, hidden: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """Return -Σ advantage · log p(token) / count less the weighted mean entropy, and that entropy."""
        generator, mask = self.policy, rollout.mask
        mean = mask / distributed.mean(mask.sum()).clamp(min=1)
        rows, targets, *weights, mean_rows = real_rows(
            mask, hidden, rollout.tokens, advantages * mean, self.entropy_coefficient * mean, mean
        )
        bias = generator.bias(forbid=self.forbidden)  # the policy that sampled the tokens
        policy = head_loss(rows, generator.head.weight, bias, targets, *weights)
        assert policy.entropy is not None
        loss, log_goes_on = policy.loss, log_no_early_end(generator, hidden, bias)
        if log_goes_on is not None:
            loss = loss + ((advantages * mean)[:, generator.head.never_ends_at] * log_goes_on).sum()
        return loss, (policy.entropy * mean_rows).sum()

    def hold_entropy(self, entropy: Tensor) -> None:
        """Raise the entropy coefficient while the entropy is too low, lower it while it is too high."""
        fraction = self.config.policy.target_entropy
        if not fraction:
            return
        self.target_entropy.copy_(self.target_entropy.where(~self.target_entropy.isnan(), entropy * fraction))
        change = ENTROPY_RATE * (self.target_entropy - entropy)
        self.entropy_coefficient.add_(change).clamp_(-ENTROPY_BOUND, ENTROPY_BOUND)
