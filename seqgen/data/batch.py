"""A batch of sentences."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core import distributed
from seqgen.data.tokenizer import PAD


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T tokens, padded to equal length."""

    tokens: Tensor
    """(B, T) token ids: a sentence, EOS, then PAD. What it is given stands before it
    (`seqgen.data.conditions`)."""
    replay: Tensor | None = None
    """(B′, T′) token ids of sentences of the corpus of the pretraining, if fine-tuning replays them."""

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(self.tokens)

    def divides_by(self, parts: int) -> bool:
        """Whether it can be divided into so many parts of equal size."""
        return all(not len(rows) % parts for rows in (self.tokens, self.replay) if rows is not None)

    def shard(self) -> "Batch":
        """Return this process's rows of a batch that is divided (`seqgen.core.distributed`), T as before."""
        replay = None if self.replay is None else distributed.shard(self.replay)
        return Batch(distributed.shard(self.tokens), replay)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return a copy on a device; without waiting for it where `non_blocking`."""
        target = torch.device(device)

        def moved(part: Tensor | None) -> Tensor | None:
            if part is None:
                return None
            # Only from pinned memory a copy goes on beside the host.
            source = part.pin_memory() if non_blocking and target.type == "cuda" else part
            return source.to(target, non_blocking=non_blocking)

        tokens, *rest = (getattr(self, field.name) for field in fields(self))
        return Batch(cast(Tensor, moved(tokens)), *(moved(part) for part in rest))


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Put batches (B, T) of any T one under another, padded by PAD, which is 0."""
    longest = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, longest - part.shape[1]), value=PAD) for part in parts])


@dataclass(frozen=True)
class TokensOf:
    """The tokens of each batch; can be iterated as often as the batches can."""

    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.tokens for batch in self.batches)
