"""MaliGAN: maximum-likelihood augmented discrete GAN (Che et al. 2017, arXiv:1702.07983).

With D the discriminator's probability of real, r(x) = D(x) / (1 - D(x)) estimates the ratio of the data's
density to the generator's. Sentences sampled from the generator and weighted by r, normalised over the batch,
stand for sentences of the data; less a baseline that grows from 0 to 1 during training (algorithm 1).

What differs from the paper, and why: weights are multiplied by the batch size, so that a learning rate does
not depend on it; they are clipped, as one sentence of which a discriminator is certain would be the whole
batch; the mixture of likelihood and adversarial training along a sentence (section 3.3) is teacher forcing
beside it.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the normalised weight, 1 in the
mean, and those of `seqgen.algorithms.adversary`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.configs import AdversarialConfig, DiscriminatorConfig
from seqgen.algorithms.policy_gradient import PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.core import distributed, settings
from seqgen.models.discriminator import scores


@dataclass(frozen=True)
class MaliGANConfig(PolicyGradientConfig, AdversarialConfig):
    """Settings of MaliGAN; the generator's come from the run it starts from."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    max_log_ratio: float = 5.0
    """bound of |log D/(1 - D)|, which the paper leaves open"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, max_log_ratio=(0.0, None))


class MaliGAN(PolicyGradient, Adversary):
    """A policy gradient whose sentences are weighted by the density ratio of the discriminator."""

    Config = MaliGANConfig
    config: MaliGANConfig
    examples = ({}, {"discriminator.kind": "cnn", "discriminator.filters": 0.02, "teacher_forcing": 0.0})

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return each sentence's weight, B r(x) / Σ r, at all of its tokens; (B, T)."""
        bound = self.config.max_log_ratio
        log_ratio = scores(self.discriminator, tokens).float().clamp(-bound, bound)
        whole = distributed.gather(log_ratio)
        return distributed.shard(torch.softmax(whole, dim=0) * len(whole))[:, None] * mask

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the weights less the baseline, the fraction of the updates done; (B, T)."""
        return (rollout.rewards - progress) * rollout.mask, {}
