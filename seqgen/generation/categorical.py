"""Draws from a categorical distribution over a large vocabulary, a chunk of rows at a time."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import is_host
from seqgen.core.errors import UserError
from seqgen.functional.vocab_projection import (
    Project,
    attempts,
    chunk_rows,
    in_range,
    no_autocast,
    projection,
)
from seqgen.models.vocab_head import ruled_out

COLDEST, HOTTEST = 1e-6, 100.0
"""Temperatures between which float32 holds the logits, and the logit that rules a token out still does."""
BELOW_ONE = 1 - 2.0**-23
"""A factor that makes every float32 smaller than it was."""


class Truncation(NamedTuple):
    """What is cut off a distribution before a draw; what is left is renormalised."""

    top_k: int | None = None
    """Keep the k likeliest tokens."""
    top_p: float | None = None
    """Of what the others left, keep the smallest set of the likeliest tokens with probability ≥ top_p
    (nucleus sampling, Holtzman et al. 2020)."""
    min_p: float | None = None
    """Keep the tokens that have min_p of the likeliest one's probability (Nguyen et al. 2024,
    arXiv:2407.01082)."""

    @property
    def is_none(self) -> bool:
        """Whether nothing is cut off."""
        return all(value is None for value in self)

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}; it must be at least 1")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UserError(f"{name} is {value}; it must be in (0, 1]")


Drawer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Draws at uniform numbers in [0, 1): what the head reads (R, H), numbers (R, N) → tokens, log p, (R, N)."""
WHOLE = Truncation()
FusedDraw = Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


def draw(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    count: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    forbid: Sequence[int] = (),
    rng: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw tokens from softmax((hidden · weightᵀ + bias) / temperature), never holding (R, V) at a time.

    hidden (R, H), weight (V, H), bias (V,). Returns tokens (R,) and the log-probability of each under the
    distribution it was drawn from (after temperature, truncation and forbid), (R,). With `count` = N the
    N independent draws of a row share its distribution: (R, N) each. Temperature 0 takes the argmax, whose
    log-probability is 0. top_k, top_p and min_p are those of `Truncation`; `forbid` are ids that are never
    drawn.

    Sums are float32, with one uniform number of 24 bits a draw: a token's frequency is off by 1e-7 or so, and
    a token of probability 0 is never drawn. UserError for settings out of range, and on the CPU where
    no token is left, or logits are not finite (an accelerator is not waited for).
    """
    cut = Truncation(top_k, top_p, min_p)
    drawn = drawer(weight, bias, hidden.dtype, temperature=temperature, cut=cut, forbid=forbid)
    uniform = distributed.rand(len(hidden), count or 1, device=hidden.device, generator=rng)
    tokens, log_probs = drawn(hidden, uniform)
    return (tokens[:, 0], log_probs[:, 0]) if count is None else (tokens, log_probs)


def drawer(
    weight: Tensor,
    bias: Tensor,
    dtype: torch.dtype,
    *,
    temperature: float = 1.0,
    cut: Truncation = WHOLE,
    forbid: Sequence[int] = (),
) -> Drawer:
    """Prepare `draw` for many calls with states of one type, at uniform numbers that are given."""
    if temperature and not COLDEST <= temperature <= HOTTEST:
        raise UserError(
            f"temperature is {temperature}; it must be 0, which is greedy, or from {COLDEST:g} to {HOTTEST:g}"
        )
    cut.check()
    bias = ruled_out(bias, forbid, -math.inf)
    step = chunk_rows(len(weight), weight.device)
    is_plain = temperature > 0 and cut.is_none
    fused = _fused_draw(weight.device) if is_plain and dtype != torch.float64 else None
    with torch.no_grad():
        project = projection(weight, bias, dtype, scale=1 / temperature if temperature > 0 else 1.0)
        if fused:
            weight, bias = weight.to(dtype), bias.float()

    def draw_chunk(states: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        return draw_from(project, states, uniform, is_greedy=temperature == 0, cut=cut)

    def draw_rows(hidden: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), no_autocast(hidden.device):
            if not hidden.shape[0]:
                return uniform.long(), uniform
            if fused:
                return fused(hidden, weight, bias, uniform, 1 / temperature)
            if hidden.shape[0] <= step:
                return draw_chunk(hidden, uniform)
            parts = map(draw_chunk, hidden.split(step), uniform.split(step))
            tokens, log_probs = zip(*parts, strict=True)
            return torch.cat(tokens), torch.cat(log_probs)

    return draw_rows


def draw_from(
    project: Project, states: Tensor, uniform: Tensor, *, is_greedy: bool, cut: Truncation
) -> tuple[Tensor, Tensor]:
    """Draw tokens of a chunk of rows from the logits in base 2 that `project` gives, (R, V).

    states (R, H), uniform (R, N) in [0, 1) → tokens and their log-probabilities, (R, N) each.
    """
    if is_greedy:
        best = project(states, False).argmax(dim=-1, keepdim=True)
        return best.expand(uniform.shape), torch.zeros_like(uniform)
    if not cut.is_none:
        return _draw_truncated(project(states, True), uniform, cut)
    return _draw_two_level(project, states, uniform)


def _fused_draw(device: torch.device) -> "FusedDraw | None":
    """Return the draw that never writes logits, on CUDA with Triton; it takes a fraction of the time."""
    if device.type != "cuda":
        return None
    try:
        from seqgen.generation import triton_draw
    except ImportError:
        return None
    return triton_draw.draw


def _draw_two_level(project: Project, states: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the CDF at uniform numbers: first find the block of tokens, then the token within it.

    states (R, H), uniform (R, N) in [0, 1) → tokens and their log-probabilities, (R, N) each.
    """
    exps, sums, cdf = _exponentials(project, states)
    total = cdf.narrow(1, -1, 1)
    target = uniform * total  # below total even when rounded, as float32 below 1 is at most 1 - 2⁻²⁴
    block = invert(sums, cdf, target)
    target = target.sub_((cdf - sums).gather(1, block)).clamp_(min=0)
    start, inside = _block_contents(exps, block)
    if block.shape[1] == 1:  # the usual case has a dimension less, and cheaper calls
        inside = inside.select(1, 0)
    else:
        target = target[..., None]
    inside_cdf = inside.cumsum(dim=-1)
    highest = inside_cdf.narrow(-1, -1, 1) * BELOW_ONE
    position = invert(inside, inside_cdf, target.minimum(highest))
    found = inside.gather(-1, position).view(block.shape)
    return start + position.view(block.shape), found.div_(total).log_()


def _exponentials(project: Project, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(logits) (R, V), up to a factor of each row, sums of its blocks (R, K) and running sums."""
    for subtract_max in attempts(states.device):
        exps = project(states, subtract_max).exp2_()
        sums = sums_of_blocks(exps)
        cdf = sums.cumsum(dim=1)
        if in_range(cdf.select(1, -1)):
            return exps, sums, cdf
    raise UserError("no token can be drawn: the logits are not finite, or every token is forbidden")


def _block_contents(exps: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """Take one block of each row for each draw; (R, V), (R, N) → first tokens (R, N), blocks (R, N, width).

    The last block may be narrower: then `width` tokens up to the end are taken, and those before the block
    are 0.
    """
    vocab_size, width = exps.shape[1], _block_width(exps.shape[1])
    start = block * width
    if vocab_size % width:
        start, first = start.clamp(max=vocab_size - width), start
    # Every run of `width` numbers of the buffer as a row, without a copy: faster than a gather.
    runs = exps.as_strided((exps.numel() - width + 1, width), (1, 1))
    rows = torch.arange(0, exps.numel(), vocab_size, device=exps.device)[:, None]
    inside = runs.index_select(0, (rows + start).flatten()).view(*block.shape, width)
    if vocab_size % width:
        is_before = torch.arange(width, device=exps.device) < (first - start)[..., None]
        inside.masked_fill_(is_before, 0)
    return start, inside


def invert(weights: Tensor, cdf: Tensor, target: Tensor) -> Tensor:
    """Return the index at which a running sum passes the target; never one of weight 0 by rounding.

    weights (…, K) ≥ 0, their running sums cdf (…, K), target (…, N) ≥ 0 and below the last; → (…, N).
    """
    index = torch.searchsorted(cdf, target, right=True)
    if weights.device.type == "cpu":
        return index
    # Running sums that are computed in parallel may rise where a weight is 0.
    index = index.clamp(max=weights.shape[-1] - 1)
    return index.where(weights.gather(-1, index) > 0, weights.argmax(dim=-1, keepdim=True))


@functools.cache
def _block_width(vocab_size: int) -> int:
    """Return about 1.5 √V, for sums of longer blocks are cheaper; a divisor of V where one is near."""
    root = math.isqrt(vocab_size)
    divisors = [width for width in range(root, 2 * root + 1) if vocab_size % width == 0]
    if not divisors:
        return min(-(-3 * root // 32) * 16, vocab_size)
    return min(divisors, key=lambda width: abs(2 * width - 3 * root))


def sums_of_blocks(exps: Tensor) -> Tensor:
    """Sum each row's blocks of columns, of which the last may be narrower: (R, V) → (R, blocks)."""
    width = _block_width(exps.shape[1])
    rows, vocab_size = exps.shape
    even = vocab_size // width * width
    if even == vocab_size:
        return exps.view(rows, -1, width).sum(dim=-1)
    sums = exps[:, :even].unflatten(1, (-1, width)).sum(dim=-1)
    return torch.cat((sums, exps[:, even:].sum(dim=-1, keepdim=True)), dim=1)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Say which tokens are in the smallest set of the likeliest with at least top_p; (R, V) → bool (R, V).

    Of equally likely ones the first are (Holtzman et al. 2020, arXiv:1904.09751, equation 2).
    """
    on_host = is_host(probs.device)  # where NumPy sorts by vector instructions, and ties are looked for first
    ordered = torch.from_numpy(np.sort(probs.numpy(), axis=-1)) if on_host else probs.sort(dim=-1).values
    so_far = ordered.cumsum(dim=-1)
    first = (so_far[:, -1:] - so_far >= top_p).sum(dim=-1, keepdim=True)  # of those that are kept
    size, least = ordered.shape[1] - first, ordered.gather(-1, first)
    kept = probs >= least
    if on_host and not (kept.sum(dim=-1, keepdim=True) > size).any():
        return kept
    above, equal = probs > least, probs == least
    return above | (equal & (equal.cumsum(dim=-1) <= size - above.sum(dim=-1, keepdim=True)))


def _draw_truncated(log2_logits: Tensor, uniform: Tensor, cut: Truncation) -> tuple[Tensor, Tensor]:
    """Draw from what is left of 2^logits / Σ 2^logits: (R, V), uniform (R, N) in [0, 1) → (R, N), (R, N)."""
    kept, ids = log2_logits, None
    if cut.top_k is not None:
        kept, ids = kept.topk(min(cut.top_k, kept.shape[1]), dim=-1)
    if cut.min_p is not None:
        least = kept.amax(dim=-1, keepdim=True) + math.log2(cut.min_p)
        kept = kept.masked_fill(kept < least, -math.inf)
    probs = torch.softmax(kept * math.log(2), dim=-1)
    if cut.top_p is not None:
        probs = probs.masked_fill(~nucleus(probs, cut.top_p), 0)
        probs /= probs.sum(dim=-1, keepdim=True)
    cdf = probs.cumsum(dim=-1)
    place = invert(probs, cdf, uniform * cdf[:, -1:])
    return place if ids is None else ids.gather(1, place), probs.gather(1, place).log()
