"""SeqGAN: policy gradient with rollouts scored by a discriminator (Yu et al. 2017, arXiv:1609.05473).

What differs from the paper, and why: a recurrent discriminator by default, so that completions share the
reading of their prefix; a baseline and normalised advantages, without which any positive reward sharpens the
policy and passes for progress; an entropy term, which holds the policy at the entropy it started with, so
that nothing is gained by sharpening; teacher forcing in every step, which keeps the likelihood of real text;
and no unknown words, which are never shown to a reader and would be a refuge from the discriminator.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the discriminator's, and those of
`seqgen.algorithms.adversary`.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from seqgen.algorithms import rewards
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import DiscriminatorConfig
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.data.batch import stacked
from seqgen.functional.gan_losses import gan_loss


@dataclass(frozen=True)
class SeqGANConfig(RolloutPolicyConfig):
    """Settings of adversarial training; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    reward: Literal["discriminator", "constant", "noise", "shuffled_labels"] = "discriminator"
    """the others are controls: constant and noise know nothing of the sentence, and shuffled_labels is a
    discriminator whose training batches are divided into real and generated at random"""


class SeqGAN(RolloutPolicy):
    """A generator, and a discriminator that tells real from generated sentences and rewards each token."""

    Config = SeqGANConfig
    config: SeqGANConfig
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
    )

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
        loss = gan_loss(self.config.discriminator.loss)
        return self.rollout_rewards(tokens, self.discriminator, loss.reward)


def shuffled(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Divide real (R, T) and generated sentences (F, T') at random into as many of each, padded alike."""
    both = stacked([real, fake])
    both = both[torch.randperm(len(both), device=both.device)]
    return both[: len(real)], both[len(real) :]
