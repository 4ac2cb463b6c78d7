"""DP-GAN: diversity-promoting GAN with a language model as discriminator (Xu et al. 2018, arXiv:1802.01345).

The reward is the discriminator's cross entropy: -log D(word | words before it) of a word, and its mean over
the words of a sentence. What the discriminator knows well, such as phrases that the generator repeats, earns
little; and it learns to know generated sentences, and not to know real ones. A word's reward is the product
of its own and its sentence's, and its return the sum of what follows.

What differs from the paper, and why: the discriminator's objective, the mean reward of real sentences less
that of generated ones, has no bound, and the likelihood of real text would fall for ever, so by default it is
the logistic loss of that difference (`loss=wasserstein` is the paper's); the discriminator starts from the
generator's weights; returns have a baseline and are normalised, because a cross entropy is always positive;
and there are the entropy term and teacher forcing of `seqgan`.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being that of the last words, those of
`seqgen.algorithms.adversary`, and `d_gap`, nats a word, the mean reward of real less that of generated
sentences in the discriminator's batches.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms import rewards
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, LanguageModelConfig
from seqgen.algorithms.mle import sentence_log_probs
from seqgen.algorithms.policy_gradient import PolicyGradient, PolicyGradientConfig, Rollout
from seqgen.core import settings
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import GAN_LOSSES
from seqgen.generation.sample import log_prob
from seqgen.models.base import evaluating


@dataclass(frozen=True)
class DPGANConfig(PolicyGradientConfig, AdversarialConfig):
    """Settings of DP-GAN; the generator's come from the run it starts from."""

    discriminator: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    discriminator_pretraining_steps: int = 100
    loss: Literal["relativistic", "wasserstein"] = "relativistic"
    """of the rewards of real and generated sentences; wasserstein is the paper's"""
    discount: float = 1.0
    """weight of a word's return in that of the word before it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, discount=(0.0, 1.0))


class DPGAN(PolicyGradient, Adversary):
    """A generator, and a language model that rewards what it does not know."""

    Config = DPGANConfig
    config: DPGANConfig
    examples = ({}, {"loss": "wasserstein", "discount": 0.5, "generator.layers": 2})

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the loss of the rewards of whole sentences, and their gap; real (R, T), fake (F, T')."""
        on_real, on_fake = (
            -sentence_log_probs(self.discriminator, tokens) / (tokens != PAD).sum(dim=1)
            for tokens in (real, fake)
        )
        gap = (on_real.mean() - on_fake.mean()).detach()
        return GAN_LOSSES[self.config.loss].discriminator(on_real, on_fake), {"d_gap": gap}

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return each word's cross entropy times its sentence's mean, and of what follows; (B, T)."""
        with evaluating(self.discriminator):
            of_words = -log_prob(self.discriminator, tokens).float()
        of_sentences = of_words.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
        return rewards.discounted(of_words * of_sentences, self.config.discount)

    def advantages(
        self, rollout: Rollout, hidden: Tensor, progress: float
    ) -> tuple[Tensor, dict[Optimizer, Tensor]]:
        """Return the normalised returns less those of other sentences at the same position; (B, T)."""
        baseline = rewards.leave_one_out(rollout.rewards, rollout.mask)
        advantages = rewards.advantages(rollout.rewards, baseline, rollout.mask)
        return rewards.normalise(advantages, rollout.mask), {}
