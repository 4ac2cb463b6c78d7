"""Monte-Carlo rollouts: the expected reward of every beginning of a sentence (Yu et al. 2017, eq. 4).

Sentences and all continuations of all their beginnings advance together, one token at a time, as one
growing batch, so nothing is read twice; a continuation that ends is scored and leaves the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.generation.categorical import draw
from seqgen.generation.sample import Generator
from seqgen.models.base import evaluating
from seqgen.models.discriminator import RNNDiscriminator, scores
from seqgen.models.state import State, concatenate, repeat, select

Score = Callable[[Tensor], Tensor]
"""Rewards of whole sentences, (R, T) → (R,): without gradient, each row by itself."""


class _Reader(Protocol):
    """What scores sentences that grow by a token at a time; its states branch as the policy's do."""

    def initial(self, batch: int) -> State: ...

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]: ...

    def score(self, features: Tensor) -> Tensor: ...


def rollout_rewards(
    policy: Generator,
    tokens: Tensor,
    reward: nn.Module | Score,
    n: int,
    *,
    of_logits: Callable[[Tensor], Tensor] = torch.sigmoid,
    temperature: float = 1.0,
    forbid: Sequence[int] = (),
    state: State | None = None,
    max_rows: int | None = None,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Reward every token by the mean reward of n sentences that go on after it; (B, T) → (B, T).

    Q(b, t) is the mean reward of n continuations of tokens[b, : t + 1] that `policy`, not necessarily what
    wrote the tokens, samples at `temperature` up to EOS or T tokens. At the last real token of a sentence
    Q is the reward of the sentence itself, and 0 at padding.

    reward: a discriminator, whose logits `of_logits` turns into rewards, or a callable on whole sentences,
        (R, L) ids with L ≤ T → (R,). A unidirectional RNNDiscriminator reads along with the policy.
    forbid: ids that no continuation draws.
    state: the policy's initial state, B rows, where it is not zeros.
    max_rows: bounds the sentences and continuations alive at once, by taking parts of the batch, then
        of the n, one after the other; at least one continuation of every beginning of one sentence.

    Dropout and gradients are off while it runs.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1")
    batch, length = tokens.shape
    reader = _reader(reward, tokens.device, of_logits)
    rewards = torch.zeros(batch, length, device=tokens.device)
    how: dict[str, Any] = {"temperature": temperature, "forbid": forbid, "rng": rng}
    with evaluating(policy), evaluating(reward):
        given = policy.initial(batch) if state is None else state
        for part, counts in _parts(tokens, n, max_rows):
            for count in counts:
                continued, own = _lock_step(policy, tokens[part], reader, select(given, part), count, how)
                rewards[part] += continued.sum(dim=-1) / n
            last = (tokens[part] != PAD).sum(dim=1, keepdim=True) - 1
            rewards[part] = rewards[part].scatter(1, last.clamp(min=0), own[:, None])
    return rewards


def _parts(tokens: Tensor, n: int, max_rows: int | None) -> Iterator[tuple[slice, list[int]]]:
    """Split the batch into slices, and n into counts, so that no part has more than max_rows rows alive."""
    batch = tokens.shape[0]
    if max_rows is None:
        yield slice(0, batch), [n]
        return
    if max_rows < 1:
        raise ValueError(f"max_rows is {max_rows}; it must be at least 1")
    longest = int((tokens != PAD).sum(dim=1).amax()) if batch else 1
    beginnings = max(1, longest - 1)
    count = min(n, max(1, (max_rows - 1) // beginnings))
    sentences = max(1, max_rows // (1 + beginnings * count))
    for start in range(0, batch, sentences):
        whole, rest = divmod(n, count)
        yield slice(start, min(start + sentences, batch)), [count] * whole + [rest] * (rest > 0)


def _lock_step(
    policy: Generator, tokens: Tensor, reader: _Reader, state: State, n: int, how: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Advance a batch and n continuations of each of its beginnings together.

    Returns the rewards of the continuations (B, T, n), 0 where there are none, and of the sentences (B,),
    0 where a sentence has no token. The rows alive are the sentences that have not ended, in order, then
    the continuations, oldest first. `slot` says where a row's reward goes, so it needs no order.
    """
    batch, length = tokens.shape
    device = tokens.device
    lengths = (tokens != PAD).sum(dim=1)
    weight, bias = policy.head.weight, policy.head.bias
    first = batch * length * n  # slots of continuations come first, then one for each sentence
    rewards = torch.zeros(first + batch, device=device)
    slot = torch.arange(first, first + batch, device=device)[lengths > 0]
    state, heard = select(state, lengths > 0), reader.initial(len(slot))
    drawn = torch.full((len(slot),), BOS, device=device)
    trunk = len(slot)
    for t in range(length):
        if len(slot) == 0:
            break
        hidden, state = policy.hidden(drawn[:, None], state)  # what the head reads to draw token t
        hidden = hidden[:, -1]
        sentence = slot[:trunk] - first
        own, branches = tokens[sentence, t], draw(hidden[trunk:], weight, bias, **how)[0]
        drawn = torch.cat((own, branches))
        if t > 0:  # the beginnings of t tokens
            new, _ = draw(hidden[:trunk], weight, bias, count=n, **how)  # (trunk, n)
            beginning = (sentence * length + t - 1)[:, None]
            slot = torch.cat((slot, (beginning * n + torch.arange(n, device=device)).flatten()))
            drawn = torch.cat((drawn, new.flatten()))
            state = concatenate((state, repeat(select(state, slice(trunk)), n)))
            heard = concatenate((heard, repeat(select(heard, slice(trunk)), n)))
        features, heard = reader.read(drawn[:, None], heard)
        ended = drawn == EOS if t + 1 < length else torch.ones_like(drawn, dtype=torch.bool)
        ended[:trunk] = lengths[sentence] == t + 1
        if not ended.any():
            continue
        rewards[slot[ended]] = reader.score(features[ended]).to(rewards.dtype)
        going = ~ended
        trunk = int(going[:trunk].sum())
        slot, drawn, state, heard = slot[going], drawn[going], select(state, going), select(heard, going)
    return rewards[:first].view(batch, length, n), rewards[first:]


def _reader(
    reward: nn.Module | Score, device: torch.device, of_logits: Callable[[Tensor], Tensor]
) -> _Reader:
    if isinstance(reward, RNNDiscriminator) and not reward.bidirectional:
        return _Along(reward, of_logits)
    if isinstance(reward, nn.Module):
        return _Whole(lambda tokens: of_logits(scores(reward, tokens)), device)
    return _Whole(reward, device)


class _Along:
    """A unidirectional discriminator, which needs no more of a beginning than its state."""

    def __init__(self, discriminator: RNNDiscriminator, of_logits: Callable[[Tensor], Tensor]) -> None:
        self.initial = discriminator.initial
        self.read = discriminator.read
        self._discriminator, self._of_logits = discriminator, of_logits

    def score(self, features: Tensor) -> Tensor:
        return self._of_logits(self._discriminator.score(features[:, -1]))


class _Whole:
    """A reward of whole sentences: the state is the tokens so far, (R, t)."""

    def __init__(self, reward: Score, device: torch.device) -> None:
        self.score = reward
        self._device = device

    def initial(self, batch: int) -> State:
        return (torch.empty(batch, 0, dtype=torch.long, device=self._device),)

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        whole = torch.cat((state[0], tokens), dim=1)
        return whole, (whole,)
