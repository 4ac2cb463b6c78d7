"""SeqGAN: policy gradient with rollouts scored by a discriminator (Yu et al. 2017, arXiv:1609.05473).

What differs from the paper, and why: a recurrent discriminator by default, so that completions share the
reading of their prefix; a baseline and normalised advantages, without which any positive reward sharpens the
policy and passes for progress; an entropy term, which holds the policy at the entropy it started with, so
that nothing is gained by sharpening; teacher forcing in every step, which keeps the likelihood of real text;
and no unknown words, which are never shown to a reader and would be a refuge from the discriminator.

A reward of the user's, a function of sentences, is mixed with the discriminator's as in ORGAN (Guimaraes et
al. 2017, arXiv:1705.10843). What differs: not the rewards are mixed but the advantages, after both have been
normalised, so that the weight means the same for numbers of any size; it is given for the whole sentence, not
for completions of every prefix, which would take it a hundred times as long; and the KL divergence from the
generator that training started from can be charged (`leash`).

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the discriminator's, and those of
`seqgen.algorithms.adversary`. With the user's reward also its mean `user_reward` and standard deviation
`user_reward_deviation`, and with a leash `kl`, nats a sentence.
"""

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms import rewards
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics, TextAlgorithm
from seqgen.algorithms.configs import AdversarialConfig, DiscriminatorConfig
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.core import distributed, settings, user_functions
from seqgen.core.errors import UserError, did_you_mean
from seqgen.core.user_functions import SentenceFunction
from seqgen.data.batch import Batch, stacked
from seqgen.data.tokenizer import Tokenizer
from seqgen.functional.gan_losses import gan_loss
from seqgen.generation.sample import log_prob
from seqgen.models.base import evaluating

REWARDS = ("discriminator", "constant", "noise", "shuffled_labels")


@dataclass(frozen=True)
class SeqGANConfig(RolloutPolicyConfig, AdversarialConfig):
    """Settings of adversarial training; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    reward: str = "discriminator"
    """discriminator; FILE.py:function or package.module:function, from a list of sentences to a list of
    numbers, higher is better, beside the discriminator's; or a control: constant and noise know nothing of
    the sentence, and shuffled_labels is a discriminator whose training batches are divided into real and
    generated at random"""
    reward_weight: float = 0.5
    """weight of a function's reward, 1 leaving the discriminator out"""
    leash: float = 0.0
    """weight of the KL divergence from the generator that training started from"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, reward_weight=(0.0, 1.0), leash=(0.0, None))
        if self.reward not in REWARDS and ":" not in self.reward:
            raise UserError(
                f"no reward '{self.reward}'{did_you_mean(self.reward, REWARDS)}, or FILE.py:function"
            )

    @property
    def functions(self) -> tuple[str, ...]:
        """The user's functions that training calls."""
        return (self.reward,) if ":" in self.reward else ()


class SeqGAN(RolloutPolicy, Adversary):
    """A generator, and a discriminator that tells real from generated sentences and rewards each token."""

    Config = SeqGANConfig
    config: SeqGANConfig
    needs_tokenizer = True
    idle_parameters: ClassVar[tuple[str, ...]] = (*RolloutPolicy.idle_parameters, "origin.")
    examples = (
        {},
        {"discriminator.kind": "rnn", "generator.layers": 2},
        {"generator.cell": "gru", "baseline": "batch_mean", "normalise": False, "max_state_bytes": 1100},
        {
            "discriminator.kind": "rnn",
            "discriminator.bidirectional": True,
            "discriminator.cell": "lstm",
            "baseline": "learned",
        },
        {"discriminator.kind": "cnn", "discriminator.filters": 0.02, "baseline": "none"},
        {"discriminator.kind": "prefix_cnn", "discriminator.filters": 0.02},
        {"discriminator.loss": "least_squares", "generator.attention": True, "target_entropy": 0.0},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
        {"generator.kind": "relational-memory", "generator.head_size": 5, "teacher_forcing": 0.0},
        {"reward": "shuffled_labels"},
        {"leash": 0.1},
    )

    def __init__(
        self, config: SeqGANConfig, *, vocab_size: int, length: int, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.tokenizer = tokenizer
        if config.leash:
            self.origin = copy.deepcopy(self.generator).requires_grad_(False)

    @cached_property
    def user_reward(self) -> SentenceFunction | None:
        """The user's reward; loading it runs its file, so only training asks for it."""
        return user_functions.load(self.config.reward) if self.config.functions else None

    def start_from(self, start: TextAlgorithm) -> None:
        """Take over the generator of a run, and keep it to be compared with where there is a leash."""
        super().start_from(start)
        if self.config.leash:
            self.origin.load_state_dict(self.generator.state_dict())

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Update the generator; return metrics, those of the user's reward and the leash among them."""
        self._metrics: StepMetrics = {}
        return super().generator_step(real, progress, context) | self._metrics

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the advantages by the discriminator's reward, mixed with those by the user's; (B, T)."""
        c, mask = self.config, rollout.mask
        found, losses = super().advantages(rollout, hidden, progress)
        if self.user_reward is not None:
            earned = self._earned(self.user_reward, rollout.tokens)
            by_user = rewards.normalise(earned[:, None].expand_as(mask) * mask, mask)
            found = (1 - c.reward_weight) * found + c.reward_weight * by_user
        if c.leash:
            ratio = self._log_ratio(rollout.tokens)
            self._metrics["kl"] = ratio.sum(dim=1).mean()
            paid = rewards.discounted(ratio, 1.0)  # what this token and the later ones cost
            paid = rewards.advantages(paid, rewards.leave_one_out(paid, mask), mask)
            found = found - c.leash * paid
        return found, losses

    def _earned(self, reward: SentenceFunction, tokens: Tensor) -> Tensor:
        """Return the user's reward of sentences; (B, T) → (B,)."""
        assert self.tokenizer is not None, "built without the tokenizer of its run"
        values = reward([self.tokenizer.decode(row) for row in tokens.tolist()])
        self._metrics |= {"user_reward": values.mean(), "user_reward_deviation": values.std()}
        return torch.from_numpy(values).to(tokens.device, torch.float32)

    def _log_ratio(self, tokens: Tensor) -> Tensor:
        """Return log of each token's probability over that by the first generator; (B, T), 0 at padding."""
        with evaluating(self.generator), evaluating(self.origin):
            return log_prob(self.generator, tokens) - log_prob(self.origin, tokens)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return what the discriminator minimises, and metrics; real (R, T), fake (F, T')."""
        if self.config.reward == "shuffled_labels":
            real, fake = shuffled(real, fake)
        return super().discriminator_loss(real, fake)

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the discriminator's mean reward of what follows each token; (B, T)."""
        if self.config.reward == "constant":
            return rewards.constant()(tokens, mask)
        if self.config.reward == "noise":
            return rewards.noise()(tokens, mask)
        if self.config.functions and self.config.reward_weight == 1:
            return torch.zeros(tokens.shape, device=tokens.device)  # nothing is asked of the discriminator
        loss = gan_loss(self.config.discriminator.loss)
        return self.rollout_rewards(tokens, self.discriminator, loss.reward)


def shuffled(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Divide real (R, T) and generated sentences (F, T') at random into as many of each, padded alike."""
    both = distributed.gather(stacked([real, fake]))
    both = both[torch.randperm(len(both), device=both.device)]
    first = len(real) * distributed.shards()
    return distributed.shard(both[:first]), distributed.shard(both[first:])
