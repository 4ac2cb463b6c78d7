"""ScratchGAN: a GAN of text that is trained from nothing (de Masson d'Autume et al. 2019, arXiv:1905.09922).

There is no pretraining and no likelihood term. A recurrent discriminator says after every token how likely
the prefix is to be real, so every token has a reward of its own, 2 D - 1; a token's return is the discounted
sum of the rewards that follow (eq. 6), less a moving average of the returns (eq. 5).

What differs from the paper, and why: batches of 128 in place of 512, for a CPU; no GloVe embeddings, which
are English words of another corpus; the entropy term of `seqgen.algorithms.policy_gradient` is off.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the mean return of the last
tokens, and of `seqgen.algorithms.adversary`, `d_loss` and `d_accuracy` being means over tokens.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms import collapse, rewards
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import Metrics, StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, PrefixDiscriminatorConfig
from seqgen.algorithms.policy_gradient import PolicyConfig, PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.core import distributed, settings
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import accuracy, cross_entropy
from seqgen.models.base import evaluating
from seqgen.models.discriminator import prefix_logits


@dataclass(frozen=True)
class ScratchGANConfig(PolicyGradientConfig, AdversarialConfig):
    """Settings of ScratchGAN, which starts from a corpus."""

    discriminator: PrefixDiscriminatorConfig = field(default_factory=PrefixDiscriminatorConfig)
    policy: PolicyConfig = field(
        default_factory=lambda: PolicyConfig(target_entropy=0.0, teacher_forcing=0.0)
    )
    steps: int = 3000
    """updates of the generator (200,000 in the paper)"""
    discriminator_pretraining_steps: int = 0
    discriminator_steps: int = 1
    batch_size: int = 128
    """sentences of an update (512 in the paper)"""
    lr: float = 1e-4
    """learning rate of the generator at its highest (9.59e-5 in the paper); a cosine to a tenth follows"""
    report_every: int | None = 200
    discount: float = 0.23
    """weight of a token's reward in the return of the token before it (γ)"""
    baseline_decay: float = 0.9
    """weight of its past in the moving average of the returns"""
    label_smoothing: float = 0.1
    """one-sided: real prefixes have the label 1 less this"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, discount=(0.0, 1.0), baseline_decay=(0.0, 1.0), label_smoothing=(0.0, 0.5))


class ScratchGAN(PolicyGradient, Adversary):
    """A generator and a discriminator of prefixes, both from random weights."""

    Config = ScratchGANConfig
    config: ScratchGANConfig
    needs_start = False
    examples = ({}, {"generator.kind": "transformer", "discriminator.kind": "generator"})
    baseline: Tensor
    """Moving average of the mean return; scalar."""

    def __init__(self, config: ScratchGANConfig, *, vocab_size: int, length: int) -> None:
        super().__init__(config, vocab_size=vocab_size, length=length)
        self.register_buffer("baseline", torch.zeros(()))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the cross entropy of all prefixes, and the accuracy; real (R, T), fake (F, T')."""
        on_real, on_fake = (prefix_logits(self.discriminator, tokens) for tokens in (real, fake))
        masks = real != PAD, fake != PAD
        loss = cross_entropy(on_real, on_fake, smoothing=self.config.label_smoothing, masks=masks)
        return loss, {"d_accuracy": accuracy(on_real, on_fake, masks=masks)}

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the discounted sum of 2 D - 1 of each token and those after it; (B, T)."""
        with evaluating(self.discriminator):
            probs = torch.sigmoid(prefix_logits(self.discriminator, tokens).float())
        return rewards.discounted((2 * probs - 1) * mask, self.config.discount)

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the returns less their moving average; (B, T)."""
        mean = distributed.total(rollout.rewards.sum()) / distributed.total(rollout.mask.sum())
        self.baseline.lerp_(mean, 1 - self.config.baseline_decay)
        return (rollout.rewards - self.baseline) * rollout.mask, {}

    def should_stop(self, report: Metrics, first: Metrics) -> str | None:
        """Stop where sentences repeat; random weights are no measure of entropy, vocabulary or likelihood."""
        return collapse.collapsed({"unique": report["unique"]}, first)
