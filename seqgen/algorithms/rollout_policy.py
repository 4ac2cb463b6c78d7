"""The policy gradient with Monte-Carlo rollouts (Yu et al. 2017): a token earns what its completions earn.

Completions are sampled by a moving average of the generator, as in the paper's code. A token's reward is the
mean reward of completions of the prefix that it ends, less a baseline; the advantages of a batch are
normalised.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqgen.algorithms import rewards
from seqgen.algorithms.base import StepMetrics, TextAlgorithm
from seqgen.algorithms.policy_gradient import PolicyConfig, PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.core import optim, settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.generation import rollouts
from seqgen.models.base import Generator
from seqgen.models.value_head import ValueHead


@dataclass(frozen=True)
class RolloutConfig(PolicyConfig):
    """The policy gradient with rollouts."""

    rollouts: int = 8
    """completions of every prefix (N in the paper, 16 there)"""
    max_state_bytes: int | None = 2**27
    """bytes of states of generator and discriminator that rollouts hold at once"""
    ema_decay: float = 0.8
    """weight of its past in the moving average of the generator that rolls out (0.8 in the paper's code)"""
    baseline: Literal["batch_mean", "leave_one_out", "learned", "none"] = "leave_one_out"
    """what is subtracted from a reward"""
    normalise: bool = True
    """give the advantages of a batch mean 0 and standard deviation 1"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, rollouts=(1, None), max_state_bytes=(1, None), ema_decay=(0.0, 1.0))


@dataclass(frozen=True)
class RolloutPolicyConfig(PolicyGradientConfig):
    """Settings of training by policy gradient with rollouts."""

    policy: RolloutConfig = field(default_factory=RolloutConfig)


class RolloutPolicy(PolicyGradient):
    """A generator, its moving average, which rolls out, and a value head."""

    config: RolloutPolicyConfig
    idle_parameters: ClassVar[tuple[str, ...]] = ("value.",)  # the value head learns where it is the baseline

    def __init__(self, config: RolloutPolicyConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.value = ValueHead(self.generator.head.weight.shape[1])

    @property
    def completer(self) -> Generator:
        """What samples the completions of a prefix: the generator's moving average."""
        return self.average

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run, for its moving average as well."""
        super().start_from(start)
        self.average.load_state_dict(self.generator.state_dict())

    def configure(self) -> None:
        """Create the optimisers; called once the module is on its device."""
        super().configure()
        self.optimizers["value"] = optim.adamw(self.value, lr=1e-2)

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator, then its moving average."""
        metrics = super().generator_step(real, progress, context)
        optim.update_ema(self.average, self.generator, decay=self.config.policy.ema_decay)
        return metrics

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the rewards less the baseline (B, T), and the loss of a value head that is the baseline."""
        c = self.config.policy
        losses: dict[Optimizer, Tensor] = {}
        if c.baseline == "learned":
            values = self.value(hidden)
            losses = {self.optimizers["value"]: rewards.value_loss(values, rollout.rewards, rollout.mask)}
            baseline = values.detach()
        elif c.baseline == "none":
            baseline = torch.zeros_like(rollout.rewards)
        else:
            baseline = getattr(rewards, c.baseline)(rollout.rewards, rollout.mask)
        advantages = rewards.advantages(rollout.rewards, baseline, rollout.mask)
        return rewards.normalise(advantages, rollout.mask) if c.normalise else advantages, losses

    def rollout_rewards(
        self, tokens: Tensor, reward: nn.Module | rollouts.Score, of_logits: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the mean reward of the completions of each prefix; (B, T) → (B, T).

        `reward` and `of_logits` as of `seqgen.generation.rollouts.rollout_rewards`.
        """
        c = self.config.policy
        return rollouts.rollout_rewards(
            self.completer,
            tokens,
            reward,
            c.rollouts,
            of_logits=of_logits,
            forbid=(UNK,),
            max_state_bytes=c.max_state_bytes,
        )
