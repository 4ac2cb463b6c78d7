"""The terms of a sentence's energy, and the energies of rounds that are over.

The discriminator of a further round learns to tell real sentences from samples of the model with the energies
before it, and its own is added to them (discriminative boosting, Grover & Ermon 2018, arXiv:1702.08484).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.generation import summaries
from seqgen.models.base import evaluating
from seqgen.models.energy import EnergyConfig, Read, SentenceEnergy

FIRST = (1.0, *(0.0 for _ in ("negative part", *summaries.NAMES)))
"""The weights of the terms before any calibration: the logit as it is."""


def uncalibrated(rounds: int) -> tuple[float, ...]:
    """Return the weights of the terms of the last of so many rounds before they are calibrated."""
    return FIRST if rounds == 1 else (*FIRST, 1.0)


def logits(discriminator: SentenceEnergy, read: Read) -> Tensor:
    """Return the logits that B sentences are real, not calibrated; (B,)."""
    return discriminator(read, summaries.summarise(read.tokens, read.log_probs)).float()


def terms(discriminator: SentenceEnergy, logit: Tensor, read: Read, before: Tensor | None) -> Tensor:
    """Return what a calibration weights: logit, its negative part, summaries, the energy of earlier rounds.

    Of B sentences; logit (B,), before (B,) or None → (B, 2 + S) or (B, 3 + S).
    """
    standardised = discriminator.standardised(summaries.summarise(read.tokens, read.log_probs))
    parts = [logit[:, None], logit[:, None].clamp(max=0.0), standardised]
    return torch.cat(parts if before is None else [*parts, before[:, None]], dim=1)


class EarlierRounds(nn.ModuleList):
    """The calibrated energies of rounds that are over, of which no step changes anything."""

    def __init__(self, config: EnergyConfig, vocab_size: int, state_size: int, rounds: int) -> None:
        built = (config.build(vocab_size, len(summaries.NAMES), state_size) for _ in range(rounds))
        super().__init__(_Round(each, number) for number, each in enumerate(built, 1))
        self.requires_grad_(False)

    def take_over(self, rounds: Iterable[Any]) -> None:
        """Copy the energies of as many modules, each with a `discriminator` and its `calibration`."""
        mine: Any
        for mine, other in zip(self, rounds, strict=True):
            mine.discriminator.load_state_dict(other.discriminator.state_dict())
            mine.calibration.copy_(other.calibration)

    def forward(self, read: Read) -> Tensor | None:
        """Return f of B sentences, in nats; (B,), or None where there was no round."""
        found = None
        with evaluating(self):
            for energy in self:
                found = energy(read, found)
        return found


class _Round(nn.Module):
    """The calibrated energy of a round."""

    calibration: Tensor
    """The weight of each of the `terms`; (D,)."""

    def __init__(self, discriminator: SentenceEnergy, rounds: int) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.register_buffer("calibration", torch.tensor(uncalibrated(rounds)))

    def forward(self, read: Read, before: Tensor | None) -> Tensor:
        """Return f of B sentences with that of the rounds before it, in nats; before (B,) → (B,)."""
        logit = logits(self.discriminator, read)
        return terms(self.discriminator, logit, read, before) @ self.calibration
