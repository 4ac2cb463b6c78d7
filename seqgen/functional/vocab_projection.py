"""Rows of exp(logits) over a large vocabulary: what the chunked loss and the sampler have in common.

Two facts about CPUs shape it. oneDNN's float32 product is up to twice as fast as the BLAS behind `addmm` on
processors that are not Intel's, and no slower on those that are; but it writes into fresh memory alone, which
for narrow states, whose product is cheap, costs more than it gains. And exp2 is vectorised where exp and
softmax are several times slower; so logits are computed in base 2 and exponentiated in place. Their maximum
is not subtracted first: that is only needed, and then done, where a row leaves the range of the type. An
accelerator, where a look at the range would wait, always subtracts it.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core.device import is_host

LOG2E = math.log2(math.e)
CHUNK_ELEMENTS = 256 * 5000
"""Logits held at a time on a CPU: 5 MB of float32, so that every pass over them stays in the cache."""
CHUNK_ELEMENTS_CUDA = 1 << 28
"""Logits held at a time on an accelerator: 1 GB of float32."""
SAFE = 2.0**-60, 2.0**60
"""Row sums of exponentials between these are exact: no term overflows, none that matters underflows."""

NARROW = 64
"""Width of the states up to which the product is that of BLAS, into a buffer that stays."""

MOST_EXACT_ROWS, ROW_STEP = 64, 32
"""More rows of a product are filled up to a multiple: oneDNN compiles, and keeps, a kernel for each number of
them, and while sentences end one by one there is every number."""

Project = Callable[[Tensor, bool], Tensor]


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """Return how many rows of logits to hold at a time."""
    elements = CHUNK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS_CUDA
    return max(16, elements // vocab_size)


def matmul(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left (M, K) · right (N, K)ᵀ + bias (N,) → (M, N), by oneDNN where torch has it; without gradient."""
    if left.dtype == torch.float32 and left.device.type == "cpu" and _has_onednn():
        rows, more = len(left), -len(left) % ROW_STEP
        if rows > MOST_EXACT_ROWS and more:
            left = F.pad(left, (0, 0, 0, more))
        return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")[:rows]
    return F.linear(left, right, bias)


def is_narrow(weight: Tensor) -> bool:
    """Whether products with a weight (V, H) on the CPU are best written into memory that is there already."""
    return weight.device.type == "cpu" and weight.shape[1] <= NARROW


def projection(weight: Tensor, bias: Tensor, dtype: torch.dtype, *, scale: float = 1.0) -> Project:
    """Return a function of states (R, H) → logits in base 2, scale · log2(e) · (states · weightᵀ + bias).

    The result is float32 or wider, and the next call may overwrite it; the product is taken in `dtype`, that
    of the states. The function's second argument says whether to subtract each row's maximum.
    """
    exact = torch.promote_types(dtype, torch.float32)
    factor = scale * LOG2E
    weight, bias = weight.detach().to(dtype), bias.detach().to(dtype)
    scaled_bias = bias * factor
    weight_t, writes_in_place = weight.t(), is_narrow(weight)
    kept: Tensor | None = None

    def narrow_product(states: Tensor) -> Tensor:
        nonlocal kept
        rows = states.shape[0]
        if kept is None or kept.shape[0] < rows:
            kept = states.new_empty(rows, weight.shape[0])
        out = kept if kept.shape[0] == rows else kept[:rows]
        return torch.addmm(scaled_bias, states, weight_t, alpha=factor, out=out)

    def project(states: Tensor, subtract_max: bool) -> Tensor:
        if dtype != exact:  # scaling a bfloat16 would round it once more
            log2_logits = F.linear(states, weight, bias).to(exact).mul_(factor)
        elif writes_in_place:
            log2_logits = narrow_product(states.detach())
        else:
            log2_logits = matmul(states * factor, weight, scaled_bias)
        if subtract_max:
            log2_logits.sub_(log2_logits.amax(dim=-1, keepdim=True))
        return log2_logits

    return project


def attempts(device: torch.device) -> tuple[bool, ...]:
    """Return whether to subtract each row's maximum: not at first, where the host can see if it is needed."""
    return (False, True) if is_host(device) else (True,)


def in_range(sums: Tensor) -> bool:
    """Return whether every row's sum of exponentials is well within float32's range; False if one is NaN.

    On an accelerator nothing is looked at, and the answer is True: what is not finite there is found by the
    check of gradients (`seqgen.core.optim`).
    """
    if not is_host(sums.device):
        return True
    low, high = torch.aminmax(sums)
    return SAFE[0] < low.item() and high.item() < SAFE[1]


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Take products in the types given; autocast's own switch is slow, so it is only used where it is on."""
    on = device.type != "meta" and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
