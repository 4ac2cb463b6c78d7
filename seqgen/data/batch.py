"""A batch of sentences, with what they are conditioned on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T tokens, padded to equal length."""

    tokens: Tensor
    """(B, T) token ids: a sentence, EOS, then PAD."""
    label: Tensor | None = None
    """(B,) class of each sentence, if the corpus has labels."""
    source: Tensor | None = None
    """(B, S) token ids of the prefix of each sentence, if the corpus has pairs."""
    replay: Tensor | None = None
    """(B′, T′) token ids of sentences of the corpus of the pretraining, if fine-tuning replays them."""

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(self.tokens)

    def to(self, device: object, non_blocking: bool = False) -> "Batch":
        """Return a copy on a device."""
        parts = (getattr(self, field.name) for field in fields(self))
        return Batch(
            *(part if part is None else part.to(device, non_blocking=non_blocking) for part in parts)  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class TokensOf:
    """The tokens of each batch; can be iterated as often as the batches can."""

    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.tokens for batch in self.batches)
