"""What a step of training reads: sentences, and what they are conditioned on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T tokens, padded."""

    tokens: Tensor
    """(B, T) ids: a sentence, EOS, then PAD."""
    label: Tensor | None = None
    """(B,) the class of each sentence, where the corpus has labels."""
    source: Tensor | None = None
    """(B, S) ids of the text that each sentence continues, where the corpus has pairs."""
    replay: Tensor | None = None
    """(B′, T′) ids of sentences of the corpus that a fine-tuned model comes from, where it replays them."""

    def __len__(self) -> int:
        """Return B."""
        return len(self.tokens)

    def to(self, device: object, non_blocking: bool = False) -> "Batch":
        """Move every part to a device."""
        parts = (getattr(self, field.name) for field in fields(self))
        return Batch(
            *(part if part is None else part.to(device, non_blocking=non_blocking) for part in parts)  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class TokensOf:
    """The tokens of batches, as often as the batches can be read."""

    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.tokens for batch in self.batches)
