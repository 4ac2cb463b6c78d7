"""Sampling from a generator and scoring with it, without ever holding the logits of a whole batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.core import cuda_graphs, distributed
from seqgen.core.device import is_host, widened
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.categorical import Drawer, Truncation, drawer
from seqgen.generation.mixture_draw import MixtureDrawer, mixture_drawer, numbers_of_a_draw
from seqgen.models.base import Generator, evaluating
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.state import State, keep, roomy
from seqgen.models.vocab_head import NEVER, VocabHead

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
    min_p: float | None = None,
    prompt: Tensor | None = None,
    min_length: int = 0,
    forbid: Sequence[int] = (),
    state: State | None = None,
    search: Search | None = None,
    mixture: NGramMixture | None = None,
    rng: torch.Generator | None = None,
) -> Samples:
    """Generate `batch` sentences of at most `length` tokens, EOS included; see `Samples`.

    prompt (P,) or (B, P), P < length, is read first and stands at the head of the tokens, with
    log-probability 0. EOS is forbidden in the first `min_length` positions, and where the generator's head
    says that no sentence ends (`never_ends_at`). `state` (B rows) replaces the
    initial state; `temperature`, `top_k`, `top_p`, `min_p`, `forbid` as in `draw`. A `search`, such as
    `seqgen.generation.contrastive_search.ContrastiveSearch`, decodes in its own way. With a `mixture` all of
    this is of the mixture of the generator with n-grams, not of the generator alone. Dropout and gradients
    are off while it runs. On the CPU a sentence that has ended is not advanced any further; an accelerator
    advances all of them to the full length, so that nothing waits for it.
    """
    cut = Truncation(top_k, top_p, min_p)
    how: dict[str, Any] = {"temperature": temperature}
    if search is not None:
        how |= cut._asdict() | {
            "rng": rng,
            "prompt": prompt,
            "min_length": min_length,
            "forbid": forbid,
            "state": state,
            "mixture": mixture,
        }
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
        # Of all positions before the first: which number a draw takes does not depend on what others drew.
        numbers = 1 if mixture is None else numbers_of_a_draw(temperature=temperature, cut=cut)

        def draw(rows: int) -> Tensor:
            return torch.rand(length, rows, numbers, device=device, generator=rng).transpose(0, 1)

        uniform = distributed.rows_of(draw, batch).transpose(0, 1)
        draws = _Draws(generator, mixture, min_length, forbid, how | {"cut": cut}, uniform)
        loop = _compacted if is_host(device) else _in_full
        return loop(reading(generator, mixture), draws, given, state, length)

    with evaluating(generator):
        inputs = (given, *started(generator, mixture, batch, state))
        if rng is not None:
            return Samples(*run(*inputs))
        counts = None if mixture is None else mixture.keys.data_ptr()
        key = ("sample", length, temperature, cut, min_length, tuple(forbid), counts)
        return Samples(*cuda_graphs.replay(run, inputs, modules=(generator,), key=key))


Read = Callable[[Tensor, State], tuple[Tensor, State]]
"""Tokens (B, T) and a state → what the head reads after each (B, T, H), the state after all."""


def started(
    generator: Generator, mixture: NGramMixture | None, batch: int, state: State | None = None
) -> State:
    """Return the state before any token, or the one given; with a mixture its last part are the contexts."""
    state = generator.initial(batch) if state is None else state
    return state if mixture is None else (*state, mixture.tables.begin(batch))


def reading(generator: Generator, mixture: NGramMixture | None) -> Read:
    """Return how tokens are read: as the generator does, and with a mixture by its counts as well."""
    if mixture is None:
        return generator.hidden
    tables = mixture.tables

    def read(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        *own, contexts = state
        hidden, after = generator.hidden(tokens, tuple(own))
        return hidden, (*after, tables.read(tokens, contexts)[:, -1])

    return read


def _begun(given: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return tokens (length, B), BOS and a prompt (B, P) being given, and their log-probabilities of 0."""
    tokens = torch.full((length, given.shape[0]), PAD, device=given.device)
    tokens[: given.shape[1] - 1] = given[:, 1:].t()
    return tokens, torch.zeros(length, given.shape[0], device=given.device)


class _Draws:
    """Draws of the token at a position, which before `min_length` is not the end, nor where none may be."""

    def __init__(
        self,
        generator: Generator,
        mixture: NGramMixture | None,
        min_length: int,
        forbid: Sequence[int],
        how: dict[str, Any],
        uniform: Tensor,
    ) -> None:
        self.head, self.mixture, self.min_length = generator.head, mixture, min_length
        self.forbid, self.how, self.uniform = forbid, how, uniform
        self.drawers: dict[bool, MixtureDrawer] = {}

    def __call__(
        self, hidden: Tensor, state: State, t: int, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw token t of some rows (R,), or all, by what the head reads, (R, H) → tokens, log p, (R,)."""
        is_early = t < self.min_length or t == self.head.never_ends_at
        if is_early not in self.drawers:
            forbid = (*self.forbid, EOS) if is_early else self.forbid
            self.drawers[is_early] = self._drawer(hidden.dtype, forbid)
        uniform = self.uniform[t] if rows is None else self.uniform[t].index_select(0, rows)
        return self.drawers[is_early](hidden, state[-1], uniform)

    def _drawer(self, dtype: torch.dtype, forbid: Sequence[int]) -> MixtureDrawer:
        """Return a draw by what the head reads and, of a mixture, the contexts."""
        head = self.head
        if self.mixture is not None:
            return mixture_drawer(head, self.mixture, dtype, forbid=forbid, **self.how)
        draw: Drawer = drawer(head.weight, head.bias, dtype, forbid=forbid, **self.how)

        def draw_one(hidden: Tensor, unread: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
            drawn, scores = draw(hidden, uniform)
            return drawn.select(1, 0), scores.select(1, 0)

        return draw_one


def _compacted(read: Read, draw: _Draws, given: Tensor, state: State, length: int) -> tuple[Tensor, Tensor]:
    """Generate after the tokens given (B, P); sentences that end leave the batch."""
    tokens, log_probs = _begun(given, length)
    state = roomy(state, len(given), length)
    active: Tensor | None = None  # all of them
    for t in range(given.shape[1] - 1, length):
        hidden, state = read(given, state)
        drawn, scores = draw(hidden.select(1, -1), state, t, active)
        if active is None:
            tokens[t].copy_(drawn)
            log_probs[t].copy_(scores)
        else:
            tokens[t].index_copy_(0, active, drawn)
            log_probs[t].index_copy_(0, active, scores.to(log_probs.dtype))
        alive = drawn != EOS
        if not alive.all():
            places = alive.nonzero()[:, 0]
            state, drawn = keep(state, places), drawn.index_select(0, places)
            active = places if active is None else active.index_select(0, places)
        if not drawn.shape[0]:
            break
        given = drawn[:, None]
    return tokens.t().contiguous(), log_probs.t().contiguous()


def _in_full(read: Read, draw: _Draws, given: Tensor, state: State, length: int) -> tuple[Tensor, Tensor]:
    """Generate as `_compacted` does; sentences that have ended go on, and a mask leaves that out."""
    tokens, log_probs = _begun(given, length)
    alive = torch.ones_like(tokens[0], dtype=torch.bool)
    for t in range(given.shape[1] - 1, length):
        hidden, state = read(given, state)
        drawn, scores = draw(hidden[:, -1], state, t)
        tokens[t] = drawn.where(alive, PAD)
        log_probs[t] = scores.where(alive, 0)
        alive = alive & (drawn != EOS)
        given = tokens[t][:, None]
    return tokens.t().contiguous(), log_probs.t().contiguous()


def log_prob(
    generator: Generator,
    tokens: Tensor,
    state: State | None = None,
    *,
    mixture: NGramMixture | None = None,
) -> Tensor:
    """log p(token t | tokens before it) of every real position, 0 at PAD, in nats; (B, T) → (B, T).

    With a `mixture`, under that of the generator with n-grams. Where the head says that no sentence ends
    (`never_ends_at`), under the distribution that is left without EOS. Without gradient and without holding
    (B, T, V). Dropout is as the generator's mode has it.
    """
    state = generator.initial(tokens.shape[0]) if state is None else state
    with torch.no_grad():
        hidden, _ = generator.hidden(shifted(tokens), state)
        return log_prob_of_states(generator.head, tokens, hidden, mixture=mixture)


def log_prob_of_states(
    head: VocabHead, tokens: Tensor, hidden: Tensor, *, mixture: NGramMixture | None = None
) -> Tensor:
    """Return `log_prob` where what the head reads before each token, (B, T, H), is known; (B, T) → (B, T)."""
    real = tokens != PAD
    with torch.no_grad():
        rows, targets = real_rows(real, hidden, tokens)
        ones = torch.ones_like(targets, dtype=hidden.dtype)
        found = -head_loss(rows, head.weight, head.bias, targets, ones).nll
        contexts = None
        if mixture is not None:
            contexts = mixture.tables.read(shifted(tokens), mixture.tables.begin(len(tokens)))
            found = mixture.log_probs(rows, found, *real_rows(real, contexts, tokens))
        if is_host(tokens.device):
            found = torch.zeros(tokens.shape, dtype=found.dtype).masked_scatter(real, found)
        else:
            found = found.view(tokens.shape).masked_fill(~real, 0)
        return _without_early_end(head, found, tokens, hidden, mixture, contexts)


def _without_early_end(
    head: VocabHead,
    found: Tensor,
    tokens: Tensor,
    hidden: Tensor,
    mixture: NGramMixture | None,
    contexts: Tensor | None,
) -> Tensor:
    """Renormalise log p of tokens, (B, T), where no sentence ends; hidden (B, T, H), contexts (B, T, L).

    That is one more row of logits a sentence. An end that stands there has the log-probability NEVER.
    """
    at = head.never_ends_at
    if at is None or tokens.shape[1] <= at:
        return found
    end, rows = torch.full_like(tokens[:, at], EOS), hidden[:, at]
    log_end = -head_loss(rows, head.weight, head.bias, end, torch.ones_like(rows[:, 0])).nll
    if mixture is not None and contexts is not None:
        log_end = mixture.log_probs(rows, log_end, contexts[:, at], end)
    renormalised = (found[:, at] - log_not(log_end)).masked_fill(tokens[:, at] == EOS, NEVER)
    found = found.clone()
    found[:, at] = renormalised.to(found.dtype).masked_fill(tokens[:, at] == PAD, 0)
    return found


def log_not(log_p: Tensor) -> Tensor:
    """Return log(1 - p) of log p, elementwise; finite where p is 1."""
    return torch.log1p(-log_p.clamp(max=-1e-6).exp())


def sentence_log_prob(
    generator: Generator,
    tokens: Tensor,
    state: State | None = None,
    *,
    mixture: NGramMixture | None = None,
) -> Tensor:
    """log p of whole sentences without dropout, summed in float64, in nats; (B, T) → (B,)."""
    with evaluating(generator):
        return widened(log_prob(generator, tokens, state, mixture=mixture)).sum(dim=1)


def shifted(tokens: Tensor) -> Tensor:
    """What the generator reads to predict `tokens`: BOS, then all but the last; (B, T) → (B, T)."""
    return torch.cat((torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]), dim=1)
