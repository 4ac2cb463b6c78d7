"""AEGAN's critics of sentences and of latent vectors: their settings, their losses, and a sentence's energy.

The GAN loss says what a critic's score means: how real something is, or minus its energy (`energy`).
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from seqgen.core import settings
from seqgen.functional import gan_losses
from seqgen.functional.gan_losses import GANLoss
from seqgen.models.base import evaluating
from seqgen.models.critic import LatentCritic, RNNCritic, SentenceCritic


@dataclass(frozen=True)
class CriticConfig:
    """The critic of sentences, the critic of latent vectors, and the training of both."""

    kind: Literal["cnn", "rnn"] = "cnn"
    """what reads a sentence: filters of five widths, or a recurrent network"""
    rnn_hidden: int = 128
    """units of the recurrent layer of an rnn, and of the dense layer after it"""
    loss: Literal["logistic", "hinge", "energy", "wasserstein"] = "logistic"
    """GAN loss of both critics; energy is that of EBGAN (Zhao et al. 2017), wasserstein that of Gulrajani et
    al. 2017, with a penalty weight of 10 there"""
    margin: float = 2.0
    """energy from which on a fake sentence adds nothing to the energy loss"""
    filters: int = 64
    """filters of each of five widths over a sentence"""
    hidden: int = 128
    """units of a layer of the critic of latent vectors"""
    dropout: float = 0.2
    """fraction dropped of a sentence's embeddings and features"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.01
    """AdamW's decay of matrices"""
    pretraining_steps: int = 100
    """steps in which only the critic of sentences learns, before the generator learns from it"""
    penalty_every: int = 4
    """steps between gradient penalties, each weighing as many times more (Karras et al. 2020)"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            margin=(0.0, None),
            filters=(1, None),
            rnn_hidden=(1, None),
            hidden=(1, None),
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
            pretraining_steps=(0, None),
            penalty_every=(1, None),
        )


class Critics(nn.Module):
    """A critic of sentences, ids (B, T) or soft one-hots (B, T, V), and one of latent vectors (B, Z).

    The losses are scalars. A critic's loss reaches its own parameters alone where its inputs are detached.
    """

    def __init__(self, config: CriticConfig, vocab_size: int, embedding: int, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.sentences: SentenceCritic | RNNCritic
        if config.kind == "rnn":
            self.sentences = RNNCritic(
                vocab_size, embedding, hidden=config.rnn_hidden, dropout=config.dropout
            )
        else:
            self.sentences = SentenceCritic(
                vocab_size, embedding, filters=config.filters, dropout=config.dropout
            )
        self.latents = LatentCritic(latent_dim, config.hidden)

    @property
    def loss(self) -> GANLoss:
        """The GAN loss of both."""
        if self.config.loss == "energy":
            return gan_losses.energy(self.config.margin)
        return gan_losses.gan_loss(self.config.loss)

    def sentence_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return what the critic of sentences minimises."""
        return self.loss.discriminator(self.sentences(real), self.sentences(fake))

    def latent_loss(self, prior: Tensor, latents: Tensor) -> Tensor:
        """Return what the critic of latent vectors minimises; those of the prior are the real ones."""
        return self.loss.discriminator(self.latents(prior), self.latents(latents))

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return what the generator of sentences minimises; the critic's dropout is off."""
        self.sentences.eval()
        scores = self.sentences(fake)
        return self.loss.generator(scores, scores)

    def encoder_loss(self, latents: Tensor) -> Tensor:
        """Return what the encoder minimises."""
        scores = self.latents(latents)
        return self.loss.generator(scores, scores)

    def energy(self, tokens: Tensor) -> Tensor:
        """Return the critic's part of a sentence's energy: its energy, or minus its score; (B, T) → (B,)."""
        with evaluating(self.sentences):
            scores = self.sentences(tokens)
        return gan_losses.energy_of(scores) if self.config.loss == "energy" else -scores
