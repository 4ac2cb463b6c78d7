"""The discriminator's game: its losses, and the reward that its logits are to the generator."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import UserError, did_you_mean
from seqgen.sampling import evaluating

SCORED_ROWS = 2048
"""Sentences scored at a time: bounds the memory of a convolutional discriminator's activations."""


class DiscriminatorLoss(NamedTuple):
    """What a discriminator's loss returns."""

    loss: Tensor
    """Scalar, with gradient."""
    accuracy: Tensor
    """Share of sentences told rightly, the real and the generated counting half each; 0.5 is chance."""


def cross_entropy(real_logits: Tensor, fake_logits: Tensor, *, smoothing: float = 0.0) -> DiscriminatorLoss:
    """-½ E[log D(real)] - ½ E[log(1 - D(fake))], in nats (Goodfellow et al. 2014, eq. 1); chance is log 2.

    real_logits (R,), fake_logits (F,). One-sided label smoothing (Salimans et al. 2016, §3.4): real sentences
    have the label 1 - smoothing, so that the discriminator is not certain without end.
    """
    real = F.binary_cross_entropy_with_logits(real_logits, torch.full_like(real_logits, 1 - smoothing))
    fake = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return DiscriminatorLoss((real + fake) / 2, _accuracy(real_logits, fake_logits, threshold=0.0))


def least_squares(real_logits: Tensor, fake_logits: Tensor) -> DiscriminatorLoss:
    """½ E[(D(real) - 1)²] + ½ E[D(fake)²] (Mao et al. 2017, eq. 2 with a = 0, b = 1); chance is ¼."""
    loss = ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2
    return DiscriminatorLoss(loss, _accuracy(real_logits, fake_logits, threshold=0.5))


def _accuracy(real_logits: Tensor, fake_logits: Tensor, *, threshold: float) -> Tensor:
    right = (real_logits > threshold).float().mean() + (fake_logits < threshold).float().mean()
    return right / 2


def clipped(logits: Tensor) -> Tensor:
    """The score of a least-squares discriminator as a reward, kept between its two targets 0 and 1."""
    return logits.clamp(0, 1)


class Game(NamedTuple):
    """A discriminator's loss, and what its logits are worth to the generator."""

    loss: Callable[[Tensor, Tensor], DiscriminatorLoss]
    reward: Callable[[Tensor], Tensor]


GAMES = {"cross_entropy": Game(cross_entropy, torch.sigmoid), "least_squares": Game(least_squares, clipped)}


def game(name: str) -> Game:
    """Look a game up by name; raise UserError with the nearest name."""
    if name not in GAMES:
        raise UserError(f"no discriminator loss '{name}'{did_you_mean(name, GAMES)}")
    return GAMES[name]


def scores(discriminator: nn.Module, tokens: Tensor, *, rows: int = SCORED_ROWS) -> Tensor:
    """The discriminator's logits of whole sentences, without dropout or gradient; (R, T) → (R,).

    `rows` are read at a time. The discriminator is left in the mode it was in.
    """
    with evaluating(discriminator):
        return torch.cat([discriminator(part) for part in tokens.split(rows)])
