"""A GAN whose discriminator is an encoder: contrastive losses teach it, similarity to real text is rewarded.

The encoder with its projection head learns embeddings in which augmentations of real sentences are alike and
generated ones are not: by the supervised contrastive loss (Khosla et al. 2020) with the real sentences as one
class and the generated ones as its negatives, by NT-Xent (Chen et al. 2020), where a sentence's other
augmentation is told from all other sentences, by RankGAN's own objective (Lin et al. 2017,
arXiv:1705.11001), or by half the squared distance of a sentence's augmentations less their logistic
similarity over that to other sentences and to generated ones (`seqgen.functional.contrastive_losses`). A
sentence's reward is how much nearer its embedding is to real ones than to generated ones, or RankGAN's
ranking score; `rankgan` is `loss=ranking` with `reward=ranking`. Generated sentences are augmented as the
real ones are, or the masks would tell which are real. The generator's side is
`seqgen.algorithms.policy_gradient`.

What differs from RankGAN's paper: rewards have a baseline and rollouts are shared as in `seqgan`; the
ranker's comparison set is the step's own real and generated sentences.

Report metrics: those of `seqgen.algorithms.policy_gradient`, `reward` being the encoder's; of the encoder's
training batches `d_loss`, nats, and `d_gap`, the mean cosine of real augmentations with each other less that
of real with generated ones (0 by chance, at most 2); and those of `seqgen.algorithms.adversary`.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.configs import AdversarialConfig, RNNDiscriminatorConfig
from seqgen.algorithms.rollout_policy import RolloutPolicy, RolloutPolicyConfig
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, settings
from seqgen.data import augment
from seqgen.data.batch import stacked
from seqgen.functional import contrastive_losses
from seqgen.models.base import GeneratorConfig
from seqgen.models.discriminator import scores


@dataclass(frozen=True)
class ContrastiveEncoderConfig(RNNDiscriminatorConfig):
    """The encoder that is the discriminator, and its training."""

    projection_dim: int = 64
    """dimensions of the embedding that the losses compare"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, projection_dim=(2, None))

    def build(self, vocab_size: int, generator: GeneratorConfig, *, projection_dim: int = 0) -> nn.Module:
        """Return a fresh encoder."""
        return super().build(vocab_size, generator, projection_dim=projection_dim or self.projection_dim)


@dataclass(frozen=True)
class ContrastiveGANConfig(RolloutPolicyConfig, AdversarialConfig):
    """Settings of the contrastive GAN; the generator's come from the run it starts from."""

    discriminator: ContrastiveEncoderConfig = field(default_factory=ContrastiveEncoderConfig)
    loss: Literal["supervised", "nt_xent", "ranking", "logistic"] = "supervised"
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
    reward: Literal["distance", "ranking"] = "distance"
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
        first, second, negative = self._embed([real, real, fake])
        similarity = contrastive_losses.cosines
        one, other, fakes = (distributed.gather(each.detach()) for each in (first, second, negative))
        gap = similarity(one, other).mean() - similarity(one, fakes).mean()
        return self._loss(first, second, negative), {"d_gap": gap}

    def _embed(self, batches: list[Tensor]) -> list[Tensor]:
        """Embed an augmentation of each sentence; batches (B, T) of any T → (B, D) each.

        They are read as one batch: normalised by themselves, real and fake embeddings would have one mean.
        """
        augmented = augment.augment(stacked(batches), self.config.augmentation, self.config.mask_rate)
        embeddings = self.discriminator(augmented).float()
        return list(embeddings.split([len(tokens) for tokens in batches]))

    def _loss(self, first: Tensor, second: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of two augmentations of each real sentence, and of fake ones; (R, D), (F, D)."""
        c = self.config
        if c.loss == "nt_xent":
            return contrastive_losses.nt_xent(first, second, others=fake, temperature=c.temperature)
        if c.loss == "ranking":
            return contrastive_losses.ranking_loss(first, second, fake, gamma=1 / c.temperature)
        if c.loss == "logistic":
            return contrastive_losses.logistic_contrastive(
                first, second, others=fake, strength=c.strength, gamma=c.gamma
            )
        embeddings = torch.cat((first, second, fake))
        is_real = torch.arange(len(embeddings), device=embeddings.device) < len(embeddings) - len(fake)
        return contrastive_losses.supervised_contrastive(
            embeddings, is_real, anchors=is_real, temperature=c.temperature
        )

    def token_rewards(self, tokens: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        """Return the encoder's mean reward of what follows each token; (B, T).

        Sentences are compared with the step's real ones and as many that the generator samples.
        """
        # Here, as rollouts ask for rewards a number of times that differs between processes.
        real = distributed.gather(scores(self.discriminator, without_unknown(context)).float())
        fake = distributed.gather(scores(self.discriminator, self.generate(len(context))).float())
        if self.config.reward == "distance":
            reward = partial(contrastive_losses.distance_reward, real=real, fake=fake)
        else:
            gamma = 1 / self.config.temperature
            reward = partial(
                contrastive_losses.ranking_reward, references=real, comparisons=fake, gamma=gamma
            )
        return self.rollout_rewards(tokens, self.discriminator, reward)
