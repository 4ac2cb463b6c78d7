"""What reads the sentences of rollouts token by token, and rewards those that have ended."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.tokenizer import PAD
from seqgen.models.discriminator import PrefixReader, scores
from seqgen.models.state import State, append

Score = Callable[[Tensor], Tensor]
"""Rewards of whole sentences, (R, T) ids, PAD after the end → (R,): without gradient, each row by itself."""


class Reader(PrefixReader, Protocol):
    """A reader whose sentences may end at different times."""

    key: str
    """What distinguishes it from a reader of other features."""
    modules: tuple[nn.Module, ...]
    """What it reads with."""

    def endings(self, features: Tensor, length: int | None = None) -> Tensor:
        """Take what `score` needs of the features that `read` returned; → (R, F), or (R, length) ids."""


def reader_of(
    reward: nn.Module | Score, device: torch.device, of_logits: Callable[[Tensor], Tensor]
) -> Reader:
    """Return what reads along for a reward; the logits of a discriminator become rewards by `of_logits`."""
    if getattr(reward, "reads_prefixes", False):
        return _DiscriminatorReader(reward, of_logits)  # type: ignore[arg-type]
    if isinstance(reward, nn.Module):
        return _SentenceReader(lambda tokens: of_logits(scores(reward, tokens)), device)
    return _SentenceReader(reward, device)


class _DiscriminatorReader:
    """A discriminator that needs no more of a prefix than its state."""

    key = "prefixes"

    def __init__(self, discriminator: PrefixReader, of_logits: Callable[[Tensor], Tensor]) -> None:
        self.initial = discriminator.initial
        self.read = discriminator.read
        self.modules: tuple[nn.Module, ...] = (discriminator,)  # type: ignore[assignment]
        self._discriminator, self._of_logits = discriminator, of_logits

    def endings(self, features: Tensor, length: int | None = None) -> Tensor:
        return features[:, -1]

    def score(self, features: Tensor) -> Tensor:
        return self._of_logits(self._discriminator.score(features))


class _SentenceReader:
    """A reward of whole sentences: the state is the tokens so far, (R, t)."""

    key = "sentences"
    modules: tuple[nn.Module, ...] = ()

    def __init__(self, reward: Score, device: torch.device) -> None:
        self.score = reward
        self._device = device

    def initial(self, batch: int) -> State:
        return (torch.empty(batch, 0, dtype=torch.long, device=self._device),)

    def endings(self, features: Tensor, length: int | None = None) -> Tensor:
        return F.pad(features, (0, 0 if length is None else length - features.shape[1]), value=PAD)

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        prefix = append(state[0], tokens)
        return prefix, (prefix,)
