"""The critics of sentences and of codes as players: how they are built, what they learn, and what they hold.

The game says what a critic's score means: how real something is (logistic, hinge), or its energy, at least 0
and lower for what is real.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.functional import gan_losses
from seqgen.models.base import evaluating
from seqgen.models.critic import CodeCritic, SentenceCritic


@dataclass(frozen=True)
class CriticConfig:
    """The two critics and their training."""

    game: Literal["logistic", "hinge", "energy"] = "logistic"
    """cross entropy, hinge, or real energies and what made ones lack of the margin (Zhao et al. 2017)"""
    margin: float = 2.0
    """energy that is enough for what is made"""
    filters: int = 64
    """filters of each of five widths over a sentence"""
    hidden: int = 128
    """units of a layer over a code"""
    dropout: float = 0.2
    """share dropped of a sentence's embeddings and features"""
    lr: float = 1e-3
    """learning rate of AdamW"""
    weight_decay: float = 0.01
    """AdamW's decay of matrices"""
    first: int = 100
    """steps before sentences are played for: the critic learns to tell them first"""
    penalty_every: int = 4
    """steps between penalties on the slope, each weighing as many times more (Karras et al. 2020)"""

    def __post_init__(self) -> None:
        settings.bounds(
            self,
            margin=(0.0, None),
            filters=(1, None),
            hidden=(1, None),
            dropout=(0.0, 0.99),
            lr=(0.0, None),
            weight_decay=(0.0, None),
            first=(0, None),
            penalty_every=(1, None),
        )


class Critics(nn.Module):
    """A critic of sentences, ids (B, T) or soft one-hots (B, T, V), and one of codes (B, Z).

    The losses of a critic are scalars and reach its own parameters alone, where what it is shown is detached.
    """

    def __init__(self, config: CriticConfig, vocab_size: int, embedding: int, code: int) -> None:
        super().__init__()
        self.config = config
        self.sentences = SentenceCritic(vocab_size, embedding, filters=config.filters, dropout=config.dropout)
        self.codes = CodeCritic(code, config.hidden)

    def judged(self, scores: Tensor) -> Tensor:
        """Turn scores, higher is more real, into what the game is about: themselves, or energies."""
        return F.softplus(-scores) if self.config.game == "energy" else scores

    def sentence_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """What the critic of sentences minimises."""
        real, made = self.judged(self.sentences(real)), self.judged(self.sentences(made))
        return gan_losses.critic_loss(self.config.game, real, made, margin=self.config.margin)

    def code_loss(self, prior: Tensor, codes: Tensor) -> Tensor:
        """What the critic of codes minimises, the prior's being the real ones."""
        prior, codes = self.judged(self.codes(prior)), self.judged(self.codes(codes))
        return gan_losses.critic_loss(self.config.game, prior, codes, margin=self.config.margin)

    def lost_by_sentences(self, made: Tensor) -> Tensor:
        """What the maker of sentences minimises; the critic's dropout is off."""
        self.sentences.eval()
        return gan_losses.generator_loss(self.config.game, self.judged(self.sentences(made)))

    def lost_by_codes(self, codes: Tensor) -> Tensor:
        """What the maker of codes minimises."""
        return gan_losses.generator_loss(self.config.game, self.judged(self.codes(codes)))

    def against(self, tokens: Tensor) -> Tensor:
        """Return what the critic holds against sentences: energies, or minus their scores; (B, T) → (B,)."""
        with evaluating(self.sentences):
            scores = self.sentences(tokens)
        return self.judged(scores) if self.config.game == "energy" else -scores
