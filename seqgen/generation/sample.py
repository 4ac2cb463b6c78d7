"""Sampling from a generator and scoring with it, without ever holding the logits of a whole batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional.chunked_loss import head_loss
from seqgen.generation.categorical import Drawer, drawer
from seqgen.models.base import Generator, evaluating
from seqgen.models.state import State, select

Search = Callable[..., "Samples"]
"""A way of decoding other than drawing each token, called as `sample` is."""


class Samples(NamedTuple):
    """What `sample` returns."""

    tokens: Tensor
    """(B, length) ids: a sentence, EOS, then PAD."""
    log_probs: Tensor
    """(B, length) log-probability of each drawn token under the distribution it was drawn from; 0 at PAD."""


def sample(
    generator: Generator,
    batch: int,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    prompt: Tensor | None = None,
    min_length: int = 0,
    forbid: Sequence[int] = (),
    state: State | None = None,
    search: Search | None = None,
    rng: torch.Generator | None = None,
) -> Samples:
    """Generate `batch` sentences of at most `length` tokens, EOS included; see `Samples`.

    prompt (P,) or (B, P), P < length, is read first and stands at the head of the tokens, with
    log-probability 0. EOS is forbidden in the first `min_length` positions. `state` (B rows) replaces the
    initial state; `temperature`, `top_k`, `top_p`, `forbid` as in `draw`. A `search`, such as
    `seqgen.generation.contrastive_search.ContrastiveSearch`, decodes in its own way. Dropout and gradients
    are off while it runs. A sentence that has ended is not advanced any further.
    """
    how: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "rng": rng}
    if search is not None:
        how |= {"prompt": prompt, "min_length": min_length, "forbid": forbid, "state": state}
        return search(generator, batch, length, **how)
    device = generator.head.weight.device
    tokens = torch.full((batch, length), PAD, device=device)
    log_probs = torch.zeros(batch, length, device=device)
    given = torch.full((batch, 1), BOS, device=device)
    if prompt is not None:
        if prompt.shape[-1] >= length:
            raise UserError(
                f"the prompt has {prompt.shape[-1]} tokens; length is {length} and must exceed it"
            )
        given = torch.cat((given, prompt.to(device).expand(batch, -1)), dim=1)
        tokens[:, : given.shape[1] - 1] = given[:, 1:]
    draws: dict[bool, Drawer] = {}
    with evaluating(generator):
        state = generator.initial(batch) if state is None else state
        active: Tensor | None = None  # all of them
        for t in range(given.shape[1] - 1, length):
            hidden, state = generator.hidden(given, state)
            early = t < min_length
            if early not in draws:
                how["forbid"] = (*forbid, EOS) if early else forbid
                draws[early] = drawer(generator.head.weight, generator.head.bias, hidden.dtype, **how)
            drawn, scores = (part[:, 0] for part in draws[early](hidden[:, -1], 1))
            rows = slice(None) if active is None else active
            tokens[rows, t], log_probs[rows, t] = drawn, scores
            alive = drawn != EOS
            if not alive.all():
                state, drawn = select(state, alive), drawn[alive]
                active = alive.nonzero()[:, 0] if active is None else active[alive]
            if not len(drawn):
                break
            given = drawn[:, None]
    return Samples(tokens, log_probs)


def log_prob(generator: Generator, tokens: Tensor, state: State | None = None) -> Tensor:
    """log p(token t | tokens before it) of every real position, 0 at PAD, in nats; (B, T) → (B, T).

    Without gradient and without holding (B, T, V). Dropout is as the generator's mode has it.
    """
    state = generator.initial(tokens.shape[0]) if state is None else state
    real = tokens != PAD
    with torch.no_grad():
        hidden, _ = generator.hidden(shifted(tokens), state)
        targets = tokens[real]
        head = generator.head
        nll = head_loss(
            hidden[real], head.weight, head.bias, targets, torch.ones_like(targets, dtype=hidden.dtype)
        ).nll
    return torch.zeros(tokens.shape, device=tokens.device, dtype=nll.dtype).masked_scatter(real, -nll)


def sentence_log_prob(generator: Generator, tokens: Tensor, state: State | None = None) -> Tensor:
    """log p of whole sentences without dropout, summed in float64, in nats; (B, T) → (B,)."""
    with evaluating(generator):
        return log_prob(generator, tokens, state).double().sum(dim=1)


def shifted(tokens: Tensor) -> Tensor:
    """What the generator reads to predict `tokens`: BOS, then all but the last; (B, T) → (B, T)."""
    return torch.cat((torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]), dim=1)
