"""What sampling yields, and where it stands."""

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Sentence:
    """One sampled sentence."""

    text: str
    tokens: int
    """Number of its tokens, those of the prompt and EOS included."""
    log_prob: float | None
    """Nats under the model at temperature 1; None if not requested or the model has no likelihood."""
    label: str | None = None
    """The label that it was given, of a run with labels."""
    source: str | None = None
    """The text that it goes on from, of a run with sources."""

    def to_dict(self) -> dict[str, Any]:
        """Return its fields, without the label or source of a run that has none."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None or name not in ("label", "source")
        }


@dataclass
class SamplingPosition:
    """Where sampling stands between two batches: from there it goes on as if it had not stopped."""

    sentences: int = 0
    """Sentences yielded so far."""
    batches_without_new: int = 0
    """Batches since the last that had a sentence to yield."""
    random_states: list[str] = field(default_factory=list)
    """The state of each random number generator, in hex; none before the first batch."""

    def restore(self, *generators: torch.Generator) -> None:
        """Put the states of generators back, in the order in which `advance` was given them."""
        for generator, state in zip(generators, self.random_states, strict=False):
            generator.set_state(torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8))

    def advance(self, sentences: int, *generators: torch.Generator) -> None:
        """Count a batch of which so many sentences were yielded, and take the states after it."""
        self.sentences += sentences
        self.batches_without_new = 0 if sentences else self.batches_without_new + 1
        self.random_states = [bytes(each.get_state().tolist()).hex() for each in generators]
