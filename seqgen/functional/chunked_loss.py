"""Losses over a large vocabulary that never hold the logits of more than a chunk of positions."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.functional.vocab_projection import Project, chunk_rows, in_range, matmul, no_autocast, projection

LN2 = math.log(2)


class HeadLoss(NamedTuple):
    """What `head_loss` returns; only `loss` carries a gradient."""

    loss: Tensor
    """Scalar: Σᵢ weightᵢ · (-log p(targetᵢ)) - Σᵢ entropy_weightᵢ · H(pᵢ), in nats."""
    nll: Tensor
    """-log p(targetᵢ) of every row, in nats; (N,)."""
    entropy: Tensor | None
    """H(pᵢ) of every row, in nats; (N,); None where no entropy weights were given."""


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    weights: Tensor,
    entropy_weights: Tensor | None = None,
) -> HeadLoss:
    """Weighted negative log-likelihood of targets under softmax(hidden · weightᵀ + bias), summed.

    hidden (N, H), weight (V, H), bias (V,), targets (N,) ids, weights (N,) of any sign (a mask, 1/N, or an
    advantage's share), entropy_weights (N,) or None (a bonus, or below 0 a penalty). Never holds (N, V):
    logits are made a chunk of rows at a time, and the gradients of hidden, weight and bias are taken in the
    forward pass while the chunk's softmax is there. Rows of padding are best left out beforehand: a weight of
    0 costs as much as any other. Not twice differentiable; weights get no gradient.
    """
    wanted = torch.is_grad_enabled() and any(part.requires_grad for part in (hidden, weight, bias))
    with no_autocast(hidden.device):
        loss, nll, entropy = _HeadLoss.apply(hidden, weight, bias, targets, weights, entropy_weights, wanted)
    return HeadLoss(loss, nll, None if entropy_weights is None else entropy)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        weights: Tensor,
        entropy_weights: Tensor | None,
        wanted: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        step = chunk_rows(len(weight), hidden.device)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        shares = weights.to(exact)[:, None]
        bonus = scratch = None
        if entropy_weights is not None:  # three numbers of every logit are held at a time
            step = max(1, step // 2)
            bonus = entropy_weights.to(exact)[:, None]
            scratch = hidden.new_empty(2, min(step, len(hidden)), len(weight), dtype=exact)
        rows = _Rows(hidden, targets[:, None], shares, bonus)
        nll, entropy = hidden.new_zeros(2, len(hidden), dtype=exact)
        grads = _Gradients(hidden, weight) if wanted else None
        project = projection(weight, bias, hidden.dtype)
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            nll[part], entropy[part] = _chunk(project, rows.take(part), part, grads, scratch)
        loss = (nll * shares[:, 0]).sum()
        if bonus is not None:
            loss = loss - (entropy * bonus[:, 0]).sum()
        if grads is not None:
            ctx.save_for_backward(*grads.finish(targets, shares))
            ctx.dtypes = hidden.dtype, weight.dtype, bias.dtype
        ctx.mark_non_differentiable(nll, entropy)
        return loss, nll, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        grads = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*((grad * outer).to(dtype) for grad, dtype in grads), None, None, None, None)


class _Gradients:
    """Gradients of Σ slopes · logits, gathered from chunks of rows; the targets' part comes at the end."""

    def __init__(self, hidden: Tensor, weight: Tensor) -> None:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        self.all = hidden
        self.used = weight.to(hidden.dtype)
        self.used_t = self.used.t().contiguous()
        self.hidden = torch.empty_like(hidden, dtype=exact)
        # One row more than H: the gradient of the bias, as if a state were always 1.
        self.head_t = weight.new_zeros(weight.shape[1] + 1, weight.shape[0], dtype=exact)

    def add(self, part: slice, states: Tensor, slopes: Tensor, scale: Tensor) -> None:
        """Add rows whose slope is slopes (R, V) · scale (R, 1)."""
        low = slopes.to(states.dtype)
        self.hidden[part] = matmul(low, self.used_t) * scale
        scaled = torch.cat((states * scale, scale.to(states.dtype)), dim=1).to(states.dtype)
        self.head_t += matmul(scaled.t(), low.t())

    def finish(self, targets: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Subtract the slope of the targets' own logits; → gradients of hidden, weight and bias."""
        self.hidden -= self.used[targets] * shares
        weight = self.head_t[:-1].t().contiguous().index_add_(0, targets, self.all * -shares)
        return self.hidden, weight, self.head_t[-1].index_add(0, targets, -shares[:, 0])


class _Rows(NamedTuple):
    hidden: Tensor  # (R, H)
    aims: Tensor  # (R, 1)
    shares: Tensor  # (R, 1)
    bonus: Tensor | None  # (R, 1)

    def take(self, part: slice) -> "_Rows":
        return _Rows(*(None if rows is None else rows[part] for rows in self))  # type: ignore[arg-type]


def _chunk(
    project: Project, rows: _Rows, part: slice, grads: _Gradients | None, scratch: Tensor | None
) -> tuple[Tensor, Tensor]:
    """-log p(targets) and entropies (0 where not asked for) of a chunk of rows, (R,) each.

    A function of its own so that a chunk's logits are freed before the next chunk's are made: memory that
    is given back to the system and asked for again costs more than what is computed in it.
    """
    for shifted in (False, True):
        bits = project(rows.hidden, shifted)
        aimed = bits.gather(1, rows.aims)
        powers = bits.exp2_() if scratch is None else torch.exp2(bits, out=scratch[0, : len(bits)])
        sums = powers.sum(dim=-1, keepdim=True)
        if in_range(sums):
            break
    logs = sums.log2()
    nll = (logs - aimed) * LN2
    entropy, slope, scale = torch.zeros_like(nll), powers, rows.shares / sums
    if rows.bonus is not None and scratch is not None:
        mean = torch.mul(powers, bits, out=scratch[1, : len(bits)]).sum(dim=-1, keepdim=True) / sums
        entropy = (logs - mean) * LN2
        if grads is not None:
            # The slope of -e · H(softmax(x)) is e · p · (log p + H).
            level = rows.shares + rows.bonus * (entropy - logs * LN2)
            slope, scale = bits.mul_(rows.bonus * LN2).add_(level).mul_(powers), 1 / sums
    if grads is not None:
        grads.add(part, rows.hidden, slope, scale)
    return nll[:, 0], entropy[:, 0]
