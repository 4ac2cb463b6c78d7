"""Views of sentences: other forms of a sentence that an encoder should take for the same."""

from typing import Literal, get_args

import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import UserError, did_you_mean
from seqgen.tokenizer import UNK

Kind = Literal["dropout", "words", "span"]
"""The sentence as it is, left to the encoder's own dropout (Gao et al. 2021, SimCSE); with words blanked one
by one; with a run of words blanked."""


def view(tokens: Tensor, kind: Kind, share: float) -> Tensor:
    """Draw a view of each sentence; (B, T) → (B, T).

    `share` of the words become unknown words; PAD, BOS and EOS stay, and so do lengths. UserError where there
    is no such kind.
    """
    if kind == "dropout":
        return tokens
    if kind == "words":
        return noise.blank_words(tokens, share)
    if kind == "span":
        return blank_span(tokens, share)
    raise UserError(f"no view '{kind}'" + did_you_mean(kind, get_args(Kind)))


def blank_span(tokens: Tensor, share: float) -> Tensor:
    """Put unknown words in place of one run of words of each sentence, anywhere in it; (B, T) → (B, T).

    The run is `share` of the sentence's words long, rounded up or down at random so that the share is right
    on average (a single span of Joshi et al. 2020, SpanBERT).
    """
    words = noise.words(tokens)
    counts = words.sum(dim=1)
    draws = torch.rand(2, len(tokens), device=tokens.device)
    lengths = (share * counts + draws[0]).long().clamp(max=counts)
    starts = (draws[1] * (counts - lengths + 1)).long()
    places = words.cumsum(dim=1) - 1  # of a word among the sentence's words
    inside = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    return tokens.masked_fill(inside & words, UNK)
