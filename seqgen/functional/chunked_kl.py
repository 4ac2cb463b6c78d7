"""The divergence of two vocabulary heads that never holds the logits of more than a chunk of positions."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_NUMBERS = 2**22
"""Logits of each head that are held at a time, 16 MiB of them."""


class HeadInputs(NamedTuple):
    """N distributions softmax(hidden · weightᵀ + bias) over V tokens."""

    hidden: Tensor
    """(N, H)"""
    weight: Tensor
    """(V, H)"""
    bias: Tensor
    """(V,)"""

    def log_probs(self, part: slice) -> Tensor:
        """Return the log-probabilities of some of them, float32 or wider; (R, V)."""
        logits = F.linear(self.hidden[part], self.weight, self.bias)
        return F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)


def head_kl(first: HeadInputs, second: HeadInputs, weights: Tensor) -> Tensor:
    """Return Σᵢ weightᵢ · KL(pᵢ ‖ qᵢ), in nats; p of the first head, q of the second, weights (N,) → scalar.

    The gradient is that of the first alone. Logits are computed a chunk of rows at a time, and anew in the
    backward pass. Leave rows of padding out beforehand, or give them the weight 0.
    """

    def of_rows(part: slice, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        log_p = HeadInputs(hidden, weight, bias).log_probs(part)
        with torch.no_grad():
            log_q = second.log_probs(part)
        return ((log_p.exp() * (log_p - log_q)).sum(dim=-1) * weights[part]).sum()

    size = max(1, CHUNK_NUMBERS // len(first.weight))
    parts = [slice(start, start + size) for start in range(0, len(first.hidden), size)]
    sums = [
        checkpoint(of_rows, part, *first, use_reentrant=False, preserve_rng_state=False) for part in parts
    ]
    return torch.stack(sums).sum()
