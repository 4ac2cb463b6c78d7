"""Losses over a large vocabulary that never hold the logits of more than a chunk of positions."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.projection import Project, chunk_rows, in_range, matmul, no_autocast, projection


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

    hidden (N, H), weight (V, H), bias (V,), targets (N,) ids, weights (N,) of any sign (a mask, 1/N, or
    minus an advantage's share), entropy_weights (N,) ≥ 0 or None (an entropy bonus). Never holds (N, V):
    logits are made a chunk of rows at a time, and the gradients of hidden, weight and bias are taken in
    the forward pass while the chunk's softmax is there. Rows of padding are best left out beforehand:
    a weight of 0 costs as much as any other. Not twice differentiable; weights get no gradient.
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
        rows, vocab_size = hidden.shape[0], weight.shape[0]
        step = chunk_rows(vocab_size, hidden.device)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        shares = weights.to(exact)[:, None]
        bonus = None if entropy_weights is None else entropy_weights.to(exact)[:, None]
        nll, entropy = hidden.new_zeros(2, rows, dtype=exact)
        grads = _Gradients(hidden, weight) if wanted else None
        project = projection(weight, bias, hidden.dtype)
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            states, aims = hidden[part], targets[part, None]
            if bonus is None:
                powers, sums, nll[part] = _powers(project, states, aims)
                if grads is not None:
                    grads.add(part, states, powers, shares[part] / sums)
            else:
                probs, logs = _probs(project, states)
                nll[part] = -logs.gather(1, aims)[:, 0]
                entropy[part] = -torch.linalg.vecdot(probs, logs)
                if grads is not None:
                    # The slope of -e · H(softmax(x)) is e · p · (log p + H).
                    slope = logs.add_(entropy[part, None]).mul_(bonus[part]).add_(shares[part]).mul_(probs)
                    grads.add(part, states, slope, torch.ones_like(shares[part]))
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


def _powers(project: Project, states: Tensor, aims: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(logits) up to a factor of each row (R, V), their sums (R, 1), -log p(aims) (R,)."""
    for shifted in (False, True):
        bits = project(states, shifted)
        aimed = bits.gather(1, aims)
        powers = bits.exp2_()
        sums = powers.sum(dim=-1, keepdim=True)
        if in_range(sums):
            break
    return powers, sums, (sums.log2() - aimed)[:, 0] * math.log(2)


def _probs(project: Project, states: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and their logarithms, (R, V) each."""
    for shifted in (False, True):
        bits = project(states, shifted)
        powers = bits.exp2()
        sums = powers.sum(dim=-1, keepdim=True)
        if in_range(sums):
            break
    return powers.div_(sums), bits.sub_(sums.log2()).mul_(math.log(2))
