"""Sampling from a generator and scoring with it, without ever holding the logits of a whole batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.core import cuda_graphs
from seqgen.core.device import is_host
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional.chunked_loss import head_loss, real_rows
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
    are off while it runs. On the CPU a sentence that has ended is not advanced any further; an accelerator
    advances all of them to the full length, so that nothing waits for it.
    """
    how: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "rng": rng}
    if search is not None:
        how |= {"prompt": prompt, "min_length": min_length, "forbid": forbid, "state": state}
        return search(generator, batch, length, **how)
    device = generator.head.weight.device
    given = torch.full((batch, 1), BOS, device=device)
    if prompt is not None:
        if prompt.shape[-1] >= length:
            raise UserError(
                f"the prompt has {prompt.shape[-1]} tokens; length is {length} and must exceed it"
            )
        given = torch.cat((given, prompt.to(device).expand(batch, -1)), dim=1)

    def run(given: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        draws = _Draws(generator, min_length, forbid, how)
        return (_compacted if is_host(device) else _in_full)(generator, draws, given, state, length)

    with evaluating(generator):
        inputs = (given, *(generator.initial(batch) if state is None else state))
        if rng is not None:
            return Samples(*run(*inputs))
        key = ("sample", length, temperature, top_k, top_p, min_length, tuple(forbid))
        return Samples(*cuda_graphs.replay(run, inputs, modules=(generator,), key=key))


def _begun(given: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return tokens (B, length), BOS and a prompt (B, P) being given, and their log-probabilities of 0."""
    tokens = torch.full((len(given), length), PAD, device=given.device)
    tokens[:, : given.shape[1] - 1] = given[:, 1:]
    return tokens, torch.zeros(len(given), length, device=given.device)


class _Draws:
    """Draws of the token at a position, which before `min_length` is not the end."""

    def __init__(
        self, generator: Generator, min_length: int, forbid: Sequence[int], how: dict[str, Any]
    ) -> None:
        self.head, self.min_length, self.forbid, self.how = generator.head, min_length, forbid, how
        self.drawers: dict[bool, Drawer] = {}

    def __call__(self, hidden: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Draw token t of every row by what the head reads, (R, H) → tokens, log-probabilities, (R,)."""
        is_early = t < self.min_length
        if is_early not in self.drawers:
            forbid = (*self.forbid, EOS) if is_early else self.forbid
            self.drawers[is_early] = drawer(
                self.head.weight, self.head.bias, hidden.dtype, forbid=forbid, **self.how
            )
        drawn, scores = self.drawers[is_early](hidden, 1)
        return drawn[:, 0], scores[:, 0]


def _compacted(
    generator: Generator, draw: _Draws, given: Tensor, state: State, length: int
) -> tuple[Tensor, Tensor]:
    """Generate after the tokens given (B, P); sentences that end leave the batch."""
    tokens, log_probs = _begun(given, length)
    active: Tensor | None = None  # all of them
    for t in range(given.shape[1] - 1, tokens.shape[1]):
        hidden, state = generator.hidden(given, state)
        drawn, scores = draw(hidden[:, -1], t)
        rows = slice(None) if active is None else active
        tokens[rows, t], log_probs[rows, t] = drawn, scores
        alive = drawn != EOS
        if not alive.all():
            state, drawn = select(state, alive), drawn[alive]
            active = alive.nonzero()[:, 0] if active is None else active[alive]
        if not len(drawn):
            break
        given = drawn[:, None]
    return tokens, log_probs


def _in_full(
    generator: Generator, draw: _Draws, given: Tensor, state: State, length: int
) -> tuple[Tensor, Tensor]:
    """Generate as `_compacted` does; sentences that have ended go on, and a mask leaves that out."""
    tokens, log_probs = _begun(given, length)
    alive = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    for t in range(given.shape[1] - 1, tokens.shape[1]):
        hidden, state = generator.hidden(given, state)
        drawn, scores = draw(hidden[:, -1], t)
        tokens[:, t] = drawn.where(alive, PAD)
        log_probs[:, t] = scores.where(alive, 0)
        alive = alive & (drawn != EOS)
        given = tokens[:, t : t + 1]
    return tokens, log_probs


def log_prob(generator: Generator, tokens: Tensor, state: State | None = None) -> Tensor:
    """log p(token t | tokens before it) of every real position, 0 at PAD, in nats; (B, T) → (B, T).

    Without gradient and without holding (B, T, V). Dropout is as the generator's mode has it.
    """
    state = generator.initial(tokens.shape[0]) if state is None else state
    real = tokens != PAD
    with torch.no_grad():
        hidden, _ = generator.hidden(shifted(tokens), state)
        rows, targets = real_rows(real, hidden, tokens)
        head = generator.head
        ones = torch.ones_like(targets, dtype=hidden.dtype)
        nll = head_loss(rows, head.weight, head.bias, targets, ones).nll
    if not is_host(tokens.device):
        return (-nll).view(tokens.shape).masked_fill(~real, 0)
    return torch.zeros(tokens.shape, dtype=nll.dtype).masked_scatter(real, -nll)


def sentence_log_prob(generator: Generator, tokens: Tensor, state: State | None = None) -> Tensor:
    """log p of whole sentences without dropout, summed in float64, in nats; (B, T) → (B,)."""
    with evaluating(generator):
        return log_prob(generator, tokens, state).double().sum(dim=1)


def shifted(tokens: Tensor) -> Tensor:
    """What the generator reads to predict `tokens`: BOS, then all but the last; (B, T) → (B, T)."""
    return torch.cat((torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]), dim=1)
