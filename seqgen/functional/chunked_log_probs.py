"""Log-probabilities of a vocabulary head, and divergences of two, of which only a chunk of logits is held.

Unlike `seqgen.functional.chunked_loss`, whose weights have to be known beforehand, results here are
differentiable one by one; for that the logits are computed anew in the backward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seqgen.functional.vocab_projection import no_autocast

CHUNK_NUMBERS = 2**22
"""Logits of a head that are held at a time, 16 MiB of them."""
_recomputed = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


class HeadInputs(NamedTuple):
    """N distributions softmax(hidden · weightᵀ + bias) over V tokens."""

    hidden: Tensor
    """(N, H)"""
    weight: Tensor
    """(V, H)"""
    bias: Tensor
    """(V,)"""

    def log_probs(self, part: slice) -> Tensor:
        """Return the log-probabilities of some of them, in the type of the weight; (R, V)."""
        with no_autocast(self.hidden.device):  # ratios of likelihoods would be noise in bfloat16
            logits = F.linear(self.hidden[part].to(self.weight.dtype), self.weight, self.bias)
        return F.log_softmax(logits, dim=-1)


def head_log_probs(head: HeadInputs, targets: Tensor) -> Tensor:
    """Return log p(target) of each distribution, in nats, differentiable; targets (N,) ids → (N,)."""
    return _by_chunks(head, lambda log_p, part: log_p.gather(1, targets[part, None])[:, 0])


def head_kl(first: HeadInputs, second: HeadInputs) -> Tensor:
    """Return KL(pᵢ ‖ qᵢ) in nats, p of the first head, q of the second; the gradient is the first's; (N,)."""

    def divergence(log_p: Tensor, part: slice) -> Tensor:
        with torch.no_grad():
            log_q = second.log_probs(part)
        return (log_p.exp() * (log_p - log_q)).sum(dim=-1)

    return _by_chunks(first, divergence)


def _by_chunks(head: HeadInputs, of_rows: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return a function of log-probabilities (R, V) and their places → (R,), of all of them; (N,)."""

    def of_part(part: slice, *inputs: Tensor) -> Tensor:
        return of_rows(HeadInputs(*inputs).log_probs(part), part)

    size = max(1, CHUNK_NUMBERS // len(head.weight))
    parts = [slice(start, start + size) for start in range(0, len(head.hidden), size)]
    return torch.cat([_recomputed(of_part, part, *head) for part in parts])
