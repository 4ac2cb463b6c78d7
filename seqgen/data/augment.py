"""Views of sentences: other forms of a sentence that an encoder should take for the same."""

from typing import Literal, get_args

import torch
from torch import Tensor

from seqgen.core.errors import UserError, did_you_mean
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK


def words(tokens: Tensor) -> Tensor:
    """Mark what is a word: not PAD, BOS or EOS; (B, T) → (B, T)."""
    return (tokens != PAD) & (tokens != BOS) & (tokens != EOS)


def blank_words(tokens: Tensor, share: float) -> Tensor:
    """Put the unknown word in place of a random share of the words (Bowman et al. 2016); (B, T) → (B, T)."""
    if not share:
        return tokens
    return tokens.masked_fill(_chosen(tokens, share), UNK)


def delete_words(tokens: Tensor, share: float) -> Tensor:
    """Leave a random share of the words out, what follows moving up; (B, T) → (B, T)."""
    if not share:
        return tokens
    gone = _chosen(tokens, share)
    order = gone.int().sort(dim=1, stable=True).indices
    return tokens.masked_fill(gone, PAD).gather(1, order)


def shuffle_words(tokens: Tensor, distance: float) -> Tensor:
    """Move words by less than `distance` places at random (Lample et al. 2018); (B, T) → (B, T)."""
    if not distance:
        return tokens
    places = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
    moved = places + distance * torch.rand(tokens.shape, device=tokens.device)
    # BOS stays in front of every word, EOS and padding behind.
    fixed = places + (distance + 1.0) * (tokens != BOS)
    return tokens.gather(1, moved.where(words(tokens), fixed).argsort(dim=1))


def _chosen(tokens: Tensor, share: float) -> Tensor:
    return (torch.rand(tokens.shape, device=tokens.device) < share) & words(tokens)


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
        return blank_words(tokens, share)
    if kind == "span":
        return blank_span(tokens, share)
    raise UserError(f"no view '{kind}'" + did_you_mean(kind, get_args(Kind)))


def blank_span(tokens: Tensor, share: float) -> Tensor:
    """Put unknown words in place of one run of words of each sentence, anywhere in it; (B, T) → (B, T).

    The run is `share` of the sentence's words long, rounded up or down at random so that the share is right
    on average (a single span of Joshi et al. 2020, SpanBERT).
    """
    is_word = words(tokens)
    counts = is_word.sum(dim=1)
    draws = torch.rand(2, len(tokens), device=tokens.device)
    lengths = (share * counts + draws[0]).long().clamp(max=counts)
    starts = (draws[1] * (counts - lengths + 1)).long()
    places = is_word.cumsum(dim=1) - 1  # of a word among the sentence's words
    inside = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    return tokens.masked_fill(inside & is_word, UNK)
