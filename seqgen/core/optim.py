"""Optimisation: simultaneous updates of several networks, gradient clipping, learning rates, averages."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from seqgen.core import distributed
from seqgen.core.device import is_host

Kind = Literal["adam", "sgd"]


def adamw(
    module: nn.Module, *, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999)
) -> AdamW:
    """Return AdamW over a module's parameters with weight decay of matrices only (Loshchilov & Hutter 2019).

    Biases and gains are not decayed: that would change their scale without regularising anything.
    """
    groups = _groups(module.parameters(), lr, weight_decay)
    return AdamW(groups, lr=lr, betas=betas, fused=_is_fused(groups))


def build(
    kind: Kind,
    parts: Sequence[tuple[Iterable[nn.Parameter], float]],
    *,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Optimizer:
    """Return one optimiser of the parameters of several networks, each with its own initial learning rate.

    kind: adam is AdamW; sgd is stochastic gradient descent with the first of `betas` as its momentum. The
    weight decay of either is of matrices only.
    """
    groups = [group for given, lr in parts for group in _groups(given, lr, weight_decay)]
    if kind == "sgd":
        return SGD(groups, lr=parts[0][1], momentum=betas[0], fused=_is_fused(groups))
    return AdamW(groups, lr=parts[0][1], betas=betas, fused=_is_fused(groups))


def _groups(given: Iterable[nn.Parameter], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return what torch's optimisers call groups: the matrices among trained parameters, and the vectors."""
    parameters = [p for p in given if p.requires_grad]
    kinds = [
        ([p for p in parameters if p.dim() > 1], weight_decay),
        ([p for p in parameters if p.dim() <= 1], 0.0),
    ]
    return [
        {"params": params, "lr": lr, "initial_lr": lr, "weight_decay": decay}
        for params, decay in kinds
        if params
    ]


def _is_fused(groups: Sequence[dict[str, Any]]) -> bool:
    """Whether to take the fused kernel, which exists on every device but torch's meta device."""
    # It passes over memory once, the default a dozen times; it can also leave an update out.
    return not any(p.is_meta for group in groups for p in group["params"])


def warmup_cosine(progress: float, *, warmup: float, floor: float = 0.0) -> float:
    """Return the factor of the learning rate at `progress` in [0, 1]: linear to 1, a cosine to `floor`."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    done = (progress - warmup) / max(1.0 - warmup, 1e-9)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def scale_lr(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its initial one times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def update(
    losses: Mapping[Optimizer, Tensor], *, clip: float | None = None
) -> dict[Optimizer, float | Tensor]:
    """Step each optimizer on its own loss; return the norm of each gradient before clipping.

    All gradients are computed before any step, and a loss changes the parameters of its own optimizer only.
    Optimizers with the same loss (the same tensor) share one backward pass. `clip` bounds the gradient norm
    of each optimizer. Where several processes train together (`seqgen.core.distributed`) gradients are
    averaged over them first. Where a gradient is not finite no parameter changes: on the CPU that is an error
    at once; an accelerator leaves the update out by itself, its norms stay tensors, and `check_finite` raises
    the error once the host looks.

    Raises:
        FloatingPointError: a gradient is not finite (CPU).
    """
    _set_gradients(losses)
    limit = math.inf if clip is None else clip
    norms = {optimizer: nn.utils.clip_grad_norm_(list(_parameters(optimizer)), limit) for optimizer in losses}
    if all(is_host(norm.device) for norm in norms.values()):
        _raise_if_not_finite(norms, losses)
    else:
        _leave_out_if_not_finite(norms)
    for optimizer in losses:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {o: float(norm) if is_host(norm.device) else norm for o, norm in norms.items()}


def _set_gradients(losses: Mapping[Optimizer, Tensor]) -> None:
    """Give the parameters of each optimizer the gradient of its loss, that of all processes' mean loss."""
    shared: dict[Tensor, list[Optimizer]] = {}
    for optimizer, loss in losses.items():
        shared.setdefault(loss, []).append(optimizer)
    parameters: list[nn.Parameter] = []
    gradients: list[Tensor | None] = []
    for i, (loss, optimizers) in enumerate(shared.items()):
        flat = [parameter for optimizer in optimizers for parameter in _parameters(optimizer)]
        parameters += flat
        gradients += torch.autograd.grad(loss, flat, retain_graph=i + 1 < len(shared), allow_unused=True)
    for parameter, gradient in zip(parameters, distributed.average_gradients(gradients), strict=True):
        parameter.grad = gradient


@contextmanager
def added_gradients(
    optimizers: Iterable[Optimizer], gradients: Mapping[nn.Parameter, Tensor], *, clip: float
) -> Iterator[None]:
    """Add gradients, by parameter, to those of every step that optimisers take inside.

    Their common norm is bounded by `clip`, as `update` bounds that of a loss, before they are added; as there
    they are averaged over processes.

    Raises:
        FloatingPointError: one of them is not finite (CPU).
    """
    averaged = distributed.average_gradients(list(gradients.values()))
    gradients = {p: g for p, g in zip(gradients, averaged, strict=True) if g is not None}
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()]))
    if is_host(norm.device) and not math.isfinite(float(norm)):
        raise FloatingPointError(f"the norm of the gradient that is added is {float(norm)}")
    factor = (clip / (norm + 1e-6)).clamp(max=1.0)

    def add(optimizer: Optimizer, args: object, kwargs: object) -> None:
        for parameter in _parameters(optimizer):
            if parameter in gradients:
                more = factor * gradients[parameter]
                parameter.grad = more if parameter.grad is None else parameter.grad + more

    handles = [optimizer.register_step_pre_hook(add) for optimizer in optimizers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _raise_if_not_finite(norms: Mapping[Optimizer, Tensor], losses: Mapping[Optimizer, Tensor]) -> None:
    for optimizer, norm in norms.items():
        if not math.isfinite(float(norm)):
            for other in losses:
                other.zero_grad(set_to_none=True)
            loss = losses[optimizer].detach()
            raise FloatingPointError(f"the gradient's norm is {float(norm)} at a loss of {float(loss)}")


def _leave_out_if_not_finite(norms: Mapping[Optimizer, Tensor]) -> None:
    """Leave the next step out on the device itself, and count that; an optimiser not fused steps by 0."""
    is_finite = torch.stack([*norms.values()]).isfinite().all()
    found = (~is_finite).float()
    for optimizer in norms:
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = found  # type: ignore[attr-defined]  # the flag of torch's gradient scaler
        else:
            for parameter in _parameters(optimizer):
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.where(is_finite, 0)
        optimizer.left_out = getattr(optimizer, "left_out", 0) + found  # type: ignore[attr-defined]


def check_finite(optimizers: Iterable[Optimizer]) -> None:
    """Raise FloatingPointError if an accelerator left updates out as a gradient was not finite."""
    for optimizer in optimizers:
        if count := int(getattr(optimizer, "left_out", 0)):
            raise FloatingPointError(f"a gradient was not finite in {count} updates, which were left out")


def _parameters(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    return (p for group in optimizer.param_groups for p in group["params"])


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, *, decay: float) -> None:
    """Move an exponential moving average of a module's parameters: θ′ ← decay · θ′ + (1 - decay) · θ."""
    for mean, new in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)
