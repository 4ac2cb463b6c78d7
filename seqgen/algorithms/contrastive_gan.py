"""A GAN whose discriminator is an encoder: contrastive losses teach it, similarity to real text is rewarded.

The encoder with its projection head learns embeddings in which augmentations of real sentences are alike and
generated ones are not (Khosla et al. 2020; `seqgen.functional.contrastive_losses` has the other objectives).
A sentence's reward is how much nearer its embedding is to real ones than to generated ones, or RankGAN's
ranking score; `rankgan` (Lin et al. 2017, arXiv:1705.11001) is `loss=ranking` with `reward=ranking`.
Generated sentences are augmented as the real ones are, or the masks would tell which are real. The
generator's side is `seqgen.algorithms.policy_gradient`.

What differs from RankGAN's paper: rewards have a baseline and rollouts are shared as in `seqgan`; the
ranker's comparison set is the step's own real and generated sentences.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the encoder's; of the encoder's
training batches `d_loss`, nats, and `d_gap`, the mean cosine of real augmentations with each other less that
of real with generated ones (0 by chance, at most 2); and those of `seqgen.algorithms.adversary`.
"""

from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, ContrastiveEncoderConfig
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, settings
from seqgen.data import augment
from seqgen.data.batch import stacked
from seqgen.functional.contrastive_losses import Objective, Similarity, cosines, loss_with_fakes, reward_by
from seqgen.models.discriminator import scores


@dataclass(frozen=True)
class ContrastiveGANConfig(RolloutPolicyConfig, AdversarialConfig):
    """Settings of the contrastive GAN; the generator's come from the run it starts from."""

    discriminator: ContrastiveEncoderConfig = field(default_factory=ContrastiveEncoderConfig)
    loss: Objective = "supervised"
    """what the discriminator minimises"""
    augmentation: augment.Kind = "words"
    """of a sentence: the encoder's dropout alone, or also words, or a span of them, masked"""
    mask_rate: float = 0.15
    """fraction of the words that an augmentation masks"""
    temperature: float = 0.1
    """divides cosines, in the losses and in the ranking (1 / γ of RankGAN)"""
    strength: float = 1.0
    """weight λ of the similarities in the logistic loss, beside half the squared distance"""
    gamma: float = 1.0
    """γ of the logistic loss: how fast similarity falls with distance"""
    reward: Similarity = "distance"
    """similarity to real sentences less that to generated ones, or RankGAN's ranking score"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(
            self, mask_rate=(0.0, 1.0), temperature=(1e-3, None), strength=(0.0, None), gamma=(0.0, None)
        )


class ContrastiveGAN(RolloutPolicy, Adversary):
    """A generator, and an encoder that rewards similarity to real sentences."""

    Config = ContrastiveGANConfig
    config: ContrastiveGANConfig
    examples = (
        {},
        {"loss": "nt_xent", "augmentation": "span", "generator.attention": True, "mask_rate": 0.4},
        {"loss": "ranking", "reward": "ranking", "augmentation": "dropout", "generator.cell": "gru"},
        {"discriminator.kind": "rnn", "discriminator.bidirectional": True, "baseline": "learned"},
        {"loss": "logistic", "strength": 2.0, "gamma": 0.5},
        {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3},
    )

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return what the encoder minimises on real (R, T) and fake sentences (F, T'), and the gap."""
        c = self.config
        augmented = augment.augment(stacked([real, real, fake]), c.augmentation, c.mask_rate)
        # Read as one batch: normalised by themselves, real and fake embeddings would have one mean.
        embeddings = self.discriminator(augmented).float()
        first, second, negative = embeddings.split([len(real), len(real), len(fake)])
        one, other, fakes = (distributed.gather(each.detach()) for each in (first, second, negative))
        gap = cosines(one, other).mean() - cosines(one, fakes).mean()
        how = {"temperature": c.temperature, "strength": c.strength, "gamma": c.gamma}
        loss = loss_with_fakes(c.loss, first, second, negative, **how)
        return loss, {"d_gap": gap}

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the encoder's mean reward of what follows each token; (B, T).

        Sentences are compared with the step's real ones and as many that the generator samples.
        """
        # Here, as rollouts ask for rewards a number of times that differs between processes.
        real = distributed.gather(scores(self.discriminator, without_unknown(context)).float())
        fake = distributed.gather(scores(self.discriminator, self.generate(len(context))).float())
        c = self.config
        reward = partial(reward_by, c.reward, real=real, fake=fake, temperature=c.temperature)
        return self.rollout_rewards(tokens, self.discriminator, reward)
