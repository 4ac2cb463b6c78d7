"""Monte-Carlo rollouts: the expected reward of every prefix of a sentence (Yu et al. 2017, eq. 4).

Sentences and all completions of all their prefixes advance together, one token at a time, as one growing
batch, so nothing is read twice. On the CPU a completion that ends is scored and leaves the batch; on an
accelerator it stays, masked, so that no shape depends on what was drawn and nothing waits for the device.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import cuda_graphs, distributed
from seqgen.core.device import is_host
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.generation.categorical import Drawer, drawer
from seqgen.generation.rollout_readers import Reader, Score, reader_of
from seqgen.models.base import Generator, evaluating, state_bytes
from seqgen.models.state import State, branch, keep, roomy, select

MOST_NUMBERS = 2**24
"""Random numbers held at once, 64 MiB; completions that need more are made one part after the other."""


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
    max_state_bytes: int | None = None,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Reward every token by the mean reward of n sentences that go on after it; (B, T) → (B, T).

    Q(b, t) is the mean reward of n completions of tokens[b, : t + 1] that `policy`, not necessarily what
    generated the tokens, samples at `temperature` up to EOS or T tokens. At the last real token of a sentence
    Q is the reward of the sentence itself, and 0 at padding.

    reward: a discriminator, whose logits `of_logits` turns into rewards, or a callable on whole sentences,
        (R, L) ids with L ≤ T, PAD after the end → (R,). A discriminator
        that is a `PrefixReader` reads along with the policy.
    forbid: ids that no completion draws. state: the policy's initial state, B rows, where it is not zeros.
    max_state_bytes: bounds the states of policy and discriminator that are held at once, by taking parts of
        the batch, then of the n, one after the other; at least one completion of each prefix of one sentence.
        The random numbers, `MOST_NUMBERS` of them or those of one completion of each prefix, come on top.

    Dropout and gradients are off while it runs.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1")
    batch, length = tokens.shape
    reader = reader_of(reward, tokens.device, of_logits)
    rewards = torch.zeros(batch, length, device=tokens.device)
    how: dict[str, Any] = {"temperature": temperature, "forbid": forbid}
    with evaluating(policy), evaluating(reward):
        given = policy.initial(batch) if state is None else state
        rows = None
        if max_state_bytes is not None:
            if max_state_bytes < 1:
                raise ValueError(f"max_state_bytes is {max_state_bytes}; it must be at least 1")
            rows = max(1, max_state_bytes // (state_bytes(policy, length) + state_bytes(reader, length)))
        lock_step = _Compacted if is_host(tokens.device) else _InFull
        for numbered in _numbered(batch, length, n):
            # Of every token of every completion, so that what one draws does not depend on where others end.
            uniform = distributed.rand(batch, length, numbered, length, device=tokens.device, generator=rng)
            for part, counts in _parts(tokens, numbered, rows):
                first = 0
                for count in counts:
                    numbers, first = uniform[part, :, first : first + count], first + count
                    of_completions, of_sentences = lock_step(
                        policy, reader, tokens[part], select(given, part), numbers, how
                    ).run()
                    rewards[part] += of_completions.sum(dim=-1) / n
                last = (tokens[part] != PAD).sum(dim=1, keepdim=True) - 1
                rewards[part] = rewards[part].scatter(1, last.clamp(min=0), of_sentences[:, None])
    return rewards


def _numbered(batch: int, length: int, n: int) -> list[int]:
    """Split n completions into counts whose random numbers are drawn together.

    By sizes alone, those of the whole batch: so all processes that share it draw the same numbers.
    """
    of_each = max(1, batch * distributed.shards() * length**2)
    most = max(1, MOST_NUMBERS // of_each)
    full, rest = divmod(n, most)
    return [most] * full + [rest] * (rest > 0)


def _parts(tokens: Tensor, n: int, max_rows: int | None) -> Iterator[tuple[slice, list[int]]]:
    """Split the batch into slices, and n into counts, so that no part has more than max_rows rows alive."""
    batch = tokens.shape[0]
    if max_rows is None:
        yield slice(0, batch), [n]
        return
    longest = tokens.shape[1]
    if is_host(tokens.device):
        longest = int((tokens != PAD).sum(dim=1).amax()) if batch else 1
    prefixes = max(1, longest - 1)
    count = min(n, max(1, (max_rows - 1) // prefixes))
    sentences = max(1, max_rows // (1 + prefixes * count))
    for start in range(0, batch, sentences):
        full, rest = divmod(n, count)
        yield slice(start, min(start + sentences, batch)), [count] * full + [rest] * (rest > 0)


class _Draw:
    """Draws tokens at uniform numbers by what the policy's head reads; (R, H), (R, N) → (R, N)."""

    def __init__(self, policy: Generator, how: dict[str, Any]) -> None:
        self.head, self.how = policy.head, how
        self.prepared: Drawer | None = None

    def __call__(self, hidden: Tensor, uniform: Tensor) -> Tensor:
        if self.prepared is None:  # of the type that autocast makes
            self.prepared = drawer(self.head.weight, self.head.bias, hidden.dtype, **self.how)
        return self.prepared(hidden, uniform)[0]


class _Compacted:
    """A batch of sentences and n completions of each of their prefixes, advanced together while they last.

    The rows alive are the sentences that have not ended, then the completions, both in any order: a row's
    `slot` is the place of its reward. Slots of completions come first, (B, T, n) of them, then one for each
    sentence. uniform: a number for each token of each completion, (B, T, n, T).
    """

    def __init__(
        self,
        policy: Generator,
        reader: Reader,
        tokens: Tensor,
        state: State,
        uniform: Tensor,
        how: dict[str, Any],
    ) -> None:
        (batch, length), n = tokens.shape, uniform.shape[2]
        self.policy, self.reader, self.tokens, self.n = policy, reader, tokens, n
        self.draw = _Draw(policy, how)
        self.uniform = uniform.flatten(0, 2)  # by slots
        self.lengths = (tokens != PAD).sum(dim=1)
        self.first = batch * length * n
        self.rewards = torch.zeros(self.first + batch, device=tokens.device)
        started = self.lengths > 0
        self.slot = torch.arange(self.first, self.first + batch, device=tokens.device)[started]
        self.sentences = len(self.slot)
        """How many of the rows alive are sentences of the batch."""
        most = len(self.slot) + int((self.lengths - 1).clamp(min=0).sum()) * n
        self.state = roomy(select(state, started), most, length)
        self.reader_state = roomy(reader.initial(len(self.slot)), most, length)
        self.newest = torch.full((len(self.slot),), BOS, device=tokens.device)

    def run(self) -> tuple[Tensor, Tensor]:
        """Advance all rows to their ends.

        Returns the rewards of the completions (B, T, n), 0 where there are none, and of the sentences (B,),
        0 where a sentence has no token.
        """
        batch, length = self.tokens.shape
        for t in range(length):
            if len(self.slot) == 0:
                break
            self._advance(t)
            features, self.reader_state = self.reader.read(self.newest[:, None], self.reader_state)
            self._score_ended(features, t)
        return self.rewards[: self.first].view(batch, length, self.n), self.rewards[self.first :]

    def _advance(self, t: int) -> None:
        """Give every row its token t, and start n completions of every prefix of t tokens."""
        hidden, self.state = self.policy.hidden(self.newest[:, None], self.state)
        hidden = hidden[:, -1]  # what the head reads to draw token t
        sentence = self.slot[: self.sentences] - self.first
        drawn = self._draw(hidden[self.sentences :], self.slot[self.sentences :, None], t)[:, 0]
        self.newest = torch.cat((self.tokens[sentence, t], drawn))
        if t > 0:
            self._branch(hidden[: self.sentences], sentence, t)

    def _branch(self, hidden: Tensor, sentence: Tensor, t: int) -> None:
        """Add n completions of each sentence's first t tokens, which differ from their token t on."""
        prefix = (sentence * self.tokens.shape[1] + t - 1)[:, None]
        slots = prefix * self.n + torch.arange(self.n, device=prefix.device)  # (sentences, n)
        drawn = self._draw(hidden, slots, t)
        self.slot = torch.cat((self.slot, slots.flatten()))
        self.newest = torch.cat((self.newest, drawn.flatten()))
        own = slice(self.sentences)
        self.state = branch(self.state, own, self.n)
        self.reader_state = branch(self.reader_state, own, self.n)

    def _draw(self, hidden: Tensor, slots: Tensor, t: int) -> Tensor:
        """Draw token t of the completions of some slots; (R, H), (R, N) → (R, N)."""
        return self.draw(hidden, self.uniform[slots, t])

    def _score_ended(self, features: Tensor, t: int) -> None:
        """Score the rows that end with token t, and drop them."""
        is_last = t + 1 == self.tokens.shape[1]
        ended = torch.ones_like(self.newest, dtype=torch.bool) if is_last else self.newest == EOS
        sentence = self.slot[: self.sentences] - self.first
        ended[: self.sentences] = self.lengths[sentence] == t + 1
        if not ended.any():
            return
        endings = self.reader.endings(features[ended])
        self.rewards[self.slot[ended]] = self.reader.score(endings).to(self.rewards.dtype)
        rows, self.sentences = _closed_up(~ended, self.sentences)
        self.slot, self.newest = self.slot[rows], self.newest[rows]
        self.state, self.reader_state = keep(self.state, rows), keep(self.reader_state, rows)


def _closed_up(alive: Tensor, first: int) -> tuple[Tensor, int]:
    """Return the rows alive, nearly all at their own places, and how many of them are of the first so many.

    Those come first; the last of them, and the last of the others, go where rows have ended.
    """
    of_first, total = int(alive[:first].sum()), int(alive.sum())
    rows = torch.arange(total, device=alive.device)
    gaps = ~alive[:of_first]
    rows[:of_first][gaps] = of_first + alive[of_first:first].nonzero()[:, 0]
    others = alive.clone()
    others[:first] = False
    gaps = ~others[of_first:total]
    rows[of_first:][gaps] = total + others[total:].nonzero()[:, 0]
    return rows, of_first


class _InFull:
    """What `_Compacted` does, with rows that stay: every shape follows from those of the arguments.

    Rows are the B sentences, then B · n completions of their first token, of their first two, and so on. What
    a reader needs of a row's end is kept when the row ends, and scored after the last token.
    """

    def __init__(
        self,
        policy: Generator,
        reader: Reader,
        tokens: Tensor,
        state: State,
        uniform: Tensor,
        how: dict[str, Any],
    ) -> None:
        self.policy, self.reader, self.n, self.how = policy, reader, uniform.shape[2], how
        self.given = (tokens, uniform, *state)

    def run(self) -> tuple[Tensor, Tensor]:
        """Advance all rows to the full length; rewards as of `_Compacted.run`."""
        tokens = self.given[0]
        lengths = (tokens != PAD).sum(dim=1)
        batch, length = tokens.shape
        rewards = self.reader.score(self._endings()).float()
        of_sentences = rewards[:batch].where(lengths > 0, 0)
        of_completions = rewards[batch:].view(length - 1, batch, self.n).transpose(0, 1)
        # A sentence's last prefix is the sentence: nothing completes it, nor what lies beyond.
        prefixes = torch.arange(1, length, device=rewards.device)
        goes_on = (prefixes < lengths[:, None])[..., None]
        return F.pad(of_completions.where(goes_on, 0), (0, 0, 0, 1)), of_sentences

    def _endings(self) -> Tensor:
        """Return what is kept of every row's end, by a CUDA graph where there can be one."""
        key = ("rollouts", self.n, self.how["temperature"], tuple(self.how["forbid"]), self.reader.key)
        modules = (self.policy, *self.reader.modules)
        return cuda_graphs.replay(self._advanced, self.given, modules=modules, key=key)[0]

    def _advanced(self, tokens: Tensor, uniform: Tensor, *state: Tensor) -> tuple[Tensor]:
        batch, length = tokens.shape
        self.tokens, self.lengths, self.uniform = tokens, (tokens != PAD).sum(dim=1), uniform
        self.draw = _Draw(self.policy, self.how)
        self.state, self.reader_state = state, self.reader.initial(batch)
        self.newest = torch.full_like(tokens[:, 0], BOS)
        self.alive = self.lengths > 0
        self.kept: Tensor | None = None
        for t in range(length):
            self._advance(t)
            features, self.reader_state = self.reader.read(self.newest[:, None], self.reader_state)
            self._keep(self.reader.endings(features, length), t)
        assert self.kept is not None, "sentences have at least one position"
        return (self.kept,)

    def _advance(self, t: int) -> None:
        """Give every row its token t, and start n completions of every prefix of t tokens."""
        batch = len(self.tokens)
        hidden, self.state = self.policy.hidden(self.newest[:, None], self.state)
        hidden = hidden[:, -1]
        numbers = self.uniform[..., t].transpose(0, 1)  # (T, B, n)
        drawn = self.draw(hidden[batch:], numbers[: max(t - 1, 0)].reshape(-1, 1))[:, 0]
        self.newest = torch.cat((self.tokens[:, t], drawn))
        if t > 0:
            branches = self.draw(hidden[:batch], numbers[t - 1])
            self.newest = torch.cat((self.newest, branches.flatten()))
            own, n = slice(batch), self.n
            self.state = branch(self.state, own, n)
            self.reader_state = branch(self.reader_state, own, n)
            self.alive = torch.cat((self.alive, (self.lengths > t).repeat_interleave(n)))

    def _keep(self, endings: Tensor, t: int) -> None:
        """Keep what is read of the rows that end with token t; they count no longer."""
        batch, length = self.tokens.shape
        of_sentences = self.lengths == t + 1
        is_last = t + 1 == length
        of_completions = torch.ones_like(self.newest[batch:], dtype=torch.bool)
        ended = torch.cat((of_sentences, of_completions if is_last else self.newest[batch:] == EOS))
        if self.kept is None:
            self.kept = endings
            return
        before = F.pad(self.kept, (0, 0, 0, len(endings) - len(self.kept)))
        self.kept = endings.where((ended & self.alive)[:, None], before)
        self.alive = self.alive & ~ended
