"""Sentences through which a gradient flows: draws from a generator as soft one-hots, or straight through.

A draw of a token is the argmax of its logits plus Gumbel noise; the softmax of that sum over a temperature is
a point of the simplex near the drawn corner (Jang et al. 2017, "Categorical reparameterization with
Gumbel-softmax", eq. 2; Maddison et al. 2017). The lower the temperature, the nearer, and the noisier the
gradient.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import leaves_out
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.models.base import Generator
from seqgen.models.state import State, select
from seqgen.models.vocab_head import NEVER, ruled_out


class Relaxed(NamedTuple):
    """What `sample_relaxed` returns; T is the length of the longest sentence, on an accelerator the most."""

    soft: Tensor
    """(B, T, V) vectors whose rows sum to 1, differentiable; the one-hot of PAD after the end."""
    tokens: Tensor
    """(B, T) ids of the drawn tokens, the argmax of each row of `soft`: a sentence, EOS, then PAD."""


def sample_relaxed(
    generator: Generator,
    batch: int,
    length: int,
    *,
    temperature: float = 1.0,
    hard: bool = False,
    forbid: Sequence[int] = (),
    first: Tensor | None = None,
    state: State | None = None,
    rng: torch.Generator | None = None,
) -> Relaxed:
    """Generate `batch` sentences of at most `length` tokens with a gradient to the generator and its state.

    The tokens are draws at temperature 1 whatever `temperature` is, which is the relaxation's: what is read
    next, and what is returned, is softmax((logits + noise) / temperature). With `hard` both are the one-hot
    of the drawn token, and the gradient is that of the soft vector (the straight-through estimator of Bengio
    et al. 2013). `forbid` are ids that are never drawn; `first` (B, P), P < length, are ids that every
    sentence begins with. Dropout is as the generator's mode has it.

    On the CPU a sentence that has ended is not advanced; an accelerator advances all of them to the full
    length. The logits are not kept: of every token that is generated, two vectors (V,) are, three where
    `hard`, beside what is returned.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature of a relaxation must be above 0, not {temperature}")
    device, never_ends_at = generator.head.weight.device, generator.head.never_ends_at
    state = generator.initial(batch) if state is None else state
    given: Tensor = torch.full((batch, 1), BOS, device=device)
    places = count(0 if first is None else first.shape[1])

    def step(given: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        hidden, state = generator.hidden(given, state)
        banned = (*forbid, EOS) if next(places) == never_ends_at else forbid
        logits = ruled_out(generator.head(hidden[:, 0]).float(), banned, NEVER)
        soft = _soften(logits, temperature, rng)
        tokens = soft.detach().argmax(dim=1)
        return (_StraightThrough.apply(soft, tokens) if hard else soft), tokens, state

    advance = _compacted if leaves_out(device) else _in_full
    if first is None:
        return advance(step, given, state, length)
    read = torch.cat((given, first), dim=1)
    _, state = generator.hidden(read[:, :-1], state)
    soft, tokens = advance(step, read[:, -1:], state, length - first.shape[1])
    one_hots = F.one_hot(first, soft.shape[2]).to(soft.dtype)
    return Relaxed(torch.cat((one_hots, soft), dim=1), torch.cat((first, tokens), dim=1))


Step = Callable[[Tensor, State], tuple[Tensor, Tensor, State]]
"""What is read last, ids (R, 1) or vectors (R, 1, V), and the state → vectors (R, V), ids (R,), the state."""


def _compacted(step: Step, given: Tensor, state: State, length: int) -> Relaxed:
    """Advance sentences while they last; those that end leave the batch."""
    batch = len(given)
    rows = torch.arange(batch, device=given.device)
    vectors, places, drawn = [], [], []
    for t in range(length):
        soft, tokens, state = step(given, state)
        vectors.append(soft)
        places.append(rows * length + t)
        drawn.append(tokens)
        alive = tokens != EOS
        if not alive.all():
            state, soft, rows = select(state, alive), soft[alive], rows[alive]
        if not len(rows):
            break
        given = soft[:, None]
    return _together(batch, length, len(drawn), torch.cat(places), torch.cat(drawn), torch.cat(vectors))


def _in_full(step: Step, given: Tensor, state: State, length: int) -> Relaxed:
    """Advance all sentences to the full length; what follows an end is the one-hot of PAD."""
    alive = torch.ones(len(given), dtype=torch.bool, device=given.device)
    vectors, drawn = [], []
    for _ in range(length):
        soft, tokens, state = step(given, state)
        vectors.append(soft.where(alive[:, None], _one_hot_of_padding(soft)))
        drawn.append(tokens.where(alive, PAD))
        alive = alive & (tokens != EOS)
        given = vectors[-1][:, None]
    return Relaxed(torch.stack(vectors, dim=1), torch.stack(drawn, dim=1))


def _one_hot_of_padding(vectors: Tensor) -> Tensor:
    """Return the one-hot (V,) of PAD for vectors (…, V)."""
    one_hot = vectors.new_zeros(vectors.shape[-1])
    one_hot.select(0, PAD).fill_(1)  # an assignment would wait for the device
    return one_hot


def _soften(logits: Tensor, temperature: float, rng: torch.Generator | None) -> Tensor:
    """softmax((logits + Gumbel noise) / temperature); (R, V) → (R, V)."""
    with torch.no_grad():  # in place: the noise is as large as all that is kept of a step
        uniform = distributed.rand(*logits.shape, device=logits.device, generator=rng)
        noise = uniform.log_().neg_().log_().neg_()
    return torch.softmax(noise.add(logits) / temperature, dim=1)


def _together(
    batch: int, length: int, longest: int, places: Tensor, drawn: Tensor, vectors: Tensor
) -> Relaxed:
    """Put tokens (R,) and their vectors (R, V) at their places b · length + t of a batch."""
    places = places // length * longest + places % length
    tokens = torch.full((batch * longest,), PAD, device=drawn.device).index_copy(0, places, drawn)
    soft = _one_hot_of_padding(vectors).expand(batch * longest, -1).index_copy(0, places, vectors)
    return Relaxed(soft.unflatten(0, (batch, longest)), tokens.unflatten(0, (batch, longest)))


class _StraightThrough(torch.autograd.Function):
    """Soft vectors (R, V) forwards as the one-hots of tokens (R,), backwards as they are."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, tokens: Tensor) -> Tensor:
        return torch.zeros_like(soft).scatter_(1, tokens[:, None], 1.0)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        return outer, None


def annealed(progress: float, *, start: float, end: float) -> float:
    """A temperature that falls by the same factor in equal times, from `start` at 0 to `end` at 1."""
    return start * (end / start) ** progress
