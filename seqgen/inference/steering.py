"""Sampling by a reward of the user's: p(x) ∝ q(x) · exp(weight · reward(x)), q what the run draws otherwise.

Nothing is trained: each sentence is chosen among K candidates with probability ∝ exp of its weighted reward
(sampling–importance–resampling), so what is drawn goes from q towards p as K grows, and never beyond what K
candidates hold. Of a residual model the reward is one more term of the energy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgen.core import settings
from seqgen.core.user_functions import SentenceFunction
from seqgen.data.tokenizer import Tokenizer
from seqgen.generation import resampling
from seqgen.generation.sample import Samples
from seqgen.training.load import decode

CANDIDATES = 8
"""Candidates of which a sentence is chosen, where none are given and the run says none."""


@dataclass(frozen=True)
class Steering:
    """A reward of sentences, and how much it counts."""

    reward: SentenceFunction
    weight: float = 1.0
    """nats that a reward of 1 is worth"""

    def __post_init__(self) -> None:
        settings.bounds(self, weight=(0.0, None))

    def energy(self, tokenizer: Tokenizer) -> Callable[[Tensor], Tensor]:
        """Return the weighted reward of sentences as a function of their ids; (B, T) → (B,)."""

        def weighted(tokens: Tensor) -> Tensor:
            earned = torch.from_numpy(self.reward(decode(tokenizer, tokens)))
            return (self.weight * earned).to(tokens.device, torch.float32)

        return weighted


def steered_sample(
    algorithm: Any,
    n: int,
    energy: Callable[[Tensor], Tensor],
    *,
    candidates: int | None = None,
    **options: Any,
) -> Samples:
    """Draw n sentences as `algorithm.sample` does, each chosen among so many candidates by an energy, too."""
    if algorithm.takes_candidates:
        drawn: Samples = algorithm.sample(n, candidates=candidates, bonus=energy, **options)
        return drawn
    count = candidates or CANDIDATES
    if algorithm.condition is not None:  # all candidates of a sentence are given the same
        device = algorithm.generator.head.weight.device
        given = algorithm.condition.rows(
            n, options.pop("condition", None), device=device, rng=options.get("rng")
        )
        if given is not None:
            options["condition"] = given.repeat_interleave(count, dim=0)
    drawn = algorithm.sample(n * count, **options)
    return resampling.chosen(drawn, energy(drawn.tokens).view(n, count), rng=options.get("rng"))
