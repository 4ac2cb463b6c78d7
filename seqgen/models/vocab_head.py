"""The vocabulary head: hidden states to logits, with the tokens that are never generated ruled out."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.tokenizer import BOS, PAD

NEVER = -1e4
"""Logit added to PAD and BOS: finite, so that 0 · NEVER is 0, and exp(NEVER) is 0 in every float format."""


def ruled_out(bias: Tensor, forbid: Sequence[int], logit: float) -> Tensor:
    """Return biases or logits (…, V) with those of the tokens `forbid` replaced, without a copy of ids."""
    if len(forbid):
        bias = bias.clone()
        for token in forbid:
            bias.select(-1, token).fill_(logit)
    return bias


class VocabHead(nn.Module):
    """Linear map to the vocabulary, (…, H) → logits (…, V); PAD and BOS have probability exactly 0.

    `weight` (V, H) and `bias` (V,) are what the chunked loss and the sampler read. The learned bias,
    `offset`, is kept apart from the constant that rules tokens out, so weight decay cannot reduce that
    constant. `scale` is the reciprocal of the calibrated temperature, 1 unless calibrated. Logits are
    multiplied by it in two parts: the bias here, the hidden states by the generator. So a weight that is
    shared with the embedding stays as it is.

    `never_ends_at` is the position, from 0, at which no sentence ends, that of its first token where none is
    empty; None where there is no such position. What draws tokens leaves EOS out there, and what measures
    them renormalises (`seqgen.generation.sample`). It is not kept with the weights.
    """

    weight: Tensor
    ruled_out: Tensor
    scale: Tensor
    never_ends_at: int | None

    def __init__(self, hidden: int, vocab_size: int, weight: Tensor | None = None) -> None:
        super().__init__()
        self.never_ends_at = None
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden)) if weight is None else weight
        self.offset = nn.Parameter(torch.zeros(vocab_size))
        ruled_out = torch.zeros(vocab_size)
        ruled_out[[PAD, BOS]] = NEVER
        self.register_buffer("ruled_out", ruled_out, persistent=False)
        self.register_buffer("scale", torch.ones(()))
        if weight is None:
            nn.init.uniform_(self.weight, -(hidden**-0.5), hidden**-0.5)

    def rule_out(self, ids: Iterable[int]) -> None:
        """Give more tokens probability exactly 0: those that no sentence holds; not kept with the weights."""
        self.ruled_out[list(ids)] = NEVER

    @property
    def bias(self) -> Tensor:
        """The learned bias, scaled, plus the constant of the tokens that are never generated; (V,)."""
        return self.offset * self.scale + self.ruled_out

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight, self.bias)
