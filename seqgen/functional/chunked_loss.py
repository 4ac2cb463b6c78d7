"""Losses over a large vocabulary that never hold the logits of more than a chunk of positions."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.core.device import is_host
from seqgen.functional.vocab_projection import (
    Project,
    attempts,
    chunk_rows,
    in_range,
    is_narrow,
    matmul,
    no_autocast,
    projection,
)

LN2 = math.log(2)
FEW = 2
"""Up to so many times the width of the states, a vocabulary's logits of all rows are computed at once."""


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
    advantage), entropy_weights (N,) or None (a bonus, or below 0 a penalty). Never holds (N, V): logits are
    computed a chunk of rows at a time, and the gradients of hidden, weight and bias are computed in the
    forward pass, from the chunk's softmax. Leave rows of padding out beforehand (`real_rows`): a weight of 0
    costs as much as any other. Not twice differentiable; weights get no gradient.

    Of a small vocabulary, characters for example, logits need little more memory than the states do, and are
    held: a chunk's many operations would take longer than the products.
    """
    is_exact = hidden.dtype == weight.dtype == torch.promote_types(hidden.dtype, torch.float32)
    if is_exact and len(weight) <= FEW * weight.shape[1]:
        with no_autocast(hidden.device):
            return _few_tokens_loss(hidden, weight, bias, targets, weights, entropy_weights)
    wanted = torch.is_grad_enabled() and any(part.requires_grad for part in (hidden, weight, bias))
    with no_autocast(hidden.device):
        loss, nll, entropy = _HeadLoss.apply(hidden, weight, bias, targets, weights, entropy_weights, wanted)
    return HeadLoss(loss, nll, None if entropy_weights is None else entropy)


def real_rows(mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Lay parts (B, T, …) out as rows (N, …): those where the mask (B, T) is True.

    On an accelerator, where counting them would wait for the device, they are all rows, N = B · T: give those
    of padding the weight 0.
    """
    if is_host(mask.device):
        places = mask.flatten().nonzero()[:, 0]
        return tuple(part.flatten(0, 1).index_select(0, places) for part in parts)
    return tuple(part.flatten(0, 1) for part in parts)


def _few_tokens_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    weights: Tensor,
    entropy_weights: Tensor | None,
) -> HeadLoss:
    """Return `head_loss` by torch's own operations, whose gradients are computed in the backward pass."""
    log_probs = F.log_softmax(F.linear(hidden, weight, bias), dim=-1)
    nll = -log_probs.gather(1, targets[:, None])[:, 0]
    loss = (nll * weights.detach()).sum()
    if entropy_weights is None:
        return HeadLoss(loss, nll.detach(), None)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return HeadLoss(loss - (entropy * entropy_weights.detach()).sum(), nll.detach(), entropy.detach())


class _HeadLoss(torch.autograd.Function):
    """The loss and its gradients, chunk by chunk of rows."""

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
        chunk = chunk_rows(len(weight), hidden.device)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        row_weights = weights.to(exact)[:, None]
        row_entropy_weights = scratch = None
        if entropy_weights is not None:  # three numbers of every logit are held at a time
            chunk = max(1, chunk // 2)
            row_entropy_weights = entropy_weights.to(exact)[:, None]
            scratch = hidden.new_empty(2, min(chunk, len(hidden)), len(weight), dtype=exact)
        rows = _Rows(hidden, targets[:, None], row_weights, row_entropy_weights)
        nll, entropy = hidden.new_zeros(2, len(hidden), dtype=exact)
        gradients = _Gradients(hidden, weight) if wanted else None
        project = projection(weight, bias, hidden.dtype)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            nll[part], entropy[part] = _chunk(project, rows.take(part), part, gradients, scratch)
        loss = (nll * row_weights[:, 0]).sum()
        if row_entropy_weights is not None:
            loss = loss - (entropy * row_entropy_weights[:, 0]).sum()
        if gradients is not None:
            ctx.save_for_backward(*gradients.finish(targets, row_weights))
            ctx.dtypes = hidden.dtype, weight.dtype, bias.dtype
        ctx.mark_non_differentiable(nll, entropy)
        return loss, nll, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*((gradient * outer).to(dtype) for gradient, dtype in gradients), None, None, None, None)


class _Rows(NamedTuple):
    """Rows of hidden states and what each counts for."""

    hidden: Tensor  # (R, H)
    targets: Tensor  # (R, 1)
    weights: Tensor  # (R, 1)
    entropy_weights: Tensor | None  # (R, 1)

    def take(self, part: slice) -> "_Rows":
        return _Rows(*(None if rows is None else rows[part] for rows in self))  # type: ignore[arg-type]


class _Gradients:
    """The gradients of hidden states, weight and bias, from those of the logits, a chunk of rows at a time.

    The gradient of a row's logits is weight · (softmax - one-hot of the target), and an entropy's part.
    Chunks add all but the one-hots; `finish` subtracts those, which touch one logit a row, for all rows at
    once.
    """

    def __init__(self, hidden: Tensor, weight: Tensor) -> None:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        self.states = hidden
        self.weight = weight.to(hidden.dtype)
        self.weight_t = self.weight.t().contiguous()
        self.of_hidden = torch.empty_like(hidden, dtype=exact)
        # One row more than H: the gradient of the bias, as if a state were always 1.
        self.of_head_t = weight.new_zeros(weight.shape[1] + 1, weight.shape[0], dtype=exact)

    def add(self, part: slice, states: Tensor, of_logits: Tensor, scale: Tensor) -> None:
        """Add rows of which the gradient of the logits is of_logits (R, V) · scale (R, 1)."""
        low = of_logits.to(states.dtype)
        self.of_hidden[part] = matmul(low, self.weight_t) * scale
        scaled = torch.cat((states * scale, scale.to(states.dtype)), dim=1).to(states.dtype)
        if low.dtype == self.of_head_t.dtype and not is_narrow(self.weight):
            self.of_head_t.addmm_(scaled.t(), low)  # a pass less over a gradient that exceeds the cache
        else:
            self.of_head_t += matmul(scaled.t(), low.t())

    def finish(self, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Subtract the part of the targets' one-hots; → gradients of hidden, weight and bias."""
        self.of_hidden -= self.weight[targets] * weights
        of_weight = self.of_head_t[:-1].t().contiguous().index_add_(0, targets, self.states * -weights)
        return self.of_hidden, of_weight, self.of_head_t[-1].index_add(0, targets, -weights[:, 0])


def _chunk(
    project: Project, rows: _Rows, part: slice, gradients: _Gradients | None, scratch: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return -log p(targets) and entropies (0 where not asked for) of a chunk of rows, (R,) each.

    A function of its own so that a chunk's logits are freed before the next chunk's are computed: memory that
    is given back to the system and asked for again costs more than what is computed in it.
    """
    for subtract_max in attempts(rows.hidden.device):
        log2_logits = project(rows.hidden, subtract_max)
        at_target = log2_logits.gather(1, rows.targets)
        if scratch is None:
            exps = log2_logits.exp2_()
        else:
            exps = torch.exp2(log2_logits, out=scratch[0, : len(log2_logits)])
        sums = exps.sum(dim=-1, keepdim=True)
        if in_range(sums):
            break
    log2_sums = sums.log2()
    nll = (log2_sums - at_target) * LN2
    if rows.entropy_weights is None or scratch is None:
        if gradients is not None:
            gradients.add(part, rows.hidden, exps, rows.weights / sums)
        return nll[:, 0], torch.zeros_like(nll[:, 0])
    mean = torch.mul(exps, log2_logits, out=scratch[1, : len(log2_logits)]).sum(dim=-1, keepdim=True) / sums
    entropy = (log2_sums - mean) * LN2
    if gradients is not None:
        # The gradient of -e · H(softmax(x)) is e · p · (log p + H).
        constant = rows.weights + rows.entropy_weights * (entropy - log2_sums * LN2)
        of_logits = log2_logits.mul_(rows.entropy_weights * LN2).add_(constant).mul_(exps)
        gradients.add(part, rows.hidden, of_logits, 1 / sums)
    return nll[:, 0], entropy[:, 0]
