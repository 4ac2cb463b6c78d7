"""Noise and augmentations of sentences: words masked, deleted or moved; the ends of sentences stay."""

from typing import Literal, get_args

import torch
from torch import Tensor

from seqgen.core.errors import UserError, did_you_mean
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK


def words(tokens: Tensor) -> Tensor:
    """Mark what is a word: not PAD, BOS or EOS; (B, T) → (B, T)."""
    return (tokens != PAD) & (tokens != BOS) & (tokens != EOS)


def mask_words(tokens: Tensor, rate: float) -> Tensor:
    """Replace a random fraction of the words by the unknown word (Bowman et al. 2016); (B, T) → (B, T)."""
    if not rate:
        return tokens
    return tokens.masked_fill(_random_words(tokens, rate), UNK)


def delete_words(tokens: Tensor, rate: float) -> Tensor:
    """Delete a random fraction of the words; (B, T) → (B, T)."""
    if not rate:
        return tokens
    gone = _random_words(tokens, rate)
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


def _random_words(tokens: Tensor, rate: float) -> Tensor:
    return (torch.rand(tokens.shape, device=tokens.device) < rate) & words(tokens)


Kind = Literal["dropout", "words", "span"]
"""The sentence as it is, left to the encoder's own dropout (Gao et al. 2021, SimCSE); with words masked one
by one; with a span of words masked."""


def augment(tokens: Tensor, kind: Kind, rate: float) -> Tensor:
    """Draw an augmentation of each sentence; (B, T) → (B, T).

    A fraction `rate` of the words become unknown words; PAD, BOS and EOS stay, and so do lengths. UserError
    where there is no such kind.
    """
    if kind == "dropout":
        return tokens
    if kind == "words":
        return mask_words(tokens, rate)
    if kind == "span":
        return mask_span(tokens, rate)
    raise UserError(f"no augmentation '{kind}'" + did_you_mean(kind, get_args(Kind)))


def mask_span(tokens: Tensor, rate: float) -> Tensor:
    """Replace one span of words of each sentence, anywhere in it, by unknown words; (B, T) → (B, T).

    The span has a fraction `rate` of the sentence's words, rounded up or down at random so that the mean is
    exact (a single span of Joshi et al. 2020, SpanBERT).
    """
    is_word = words(tokens)
    counts = is_word.sum(dim=1)
    draws = torch.rand(2, len(tokens), device=tokens.device)
    lengths = (rate * counts + draws[0]).long().clamp(max=counts)
    starts = (draws[1] * (counts - lengths + 1)).long()
    places = is_word.cumsum(dim=1) - 1  # of a word among the sentence's words
    inside = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    return tokens.masked_fill(inside & is_word, UNK)
