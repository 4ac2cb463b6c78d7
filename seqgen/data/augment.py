"""Augmented and corrupted sentences: masked, deleted and shuffled words.

Every function takes token ids (B, T) and returns token ids (B, T). Only words change: PAD, BOS and EOS do
not. Random numbers come from torch's global generator.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.errors import UserError, did_you_mean
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK

Kind = Literal["dropout", "words", "span"]
"""How a sentence is augmented. `dropout` leaves it as it is, so that two encodings of it differ by the
encoder's dropout alone (Gao et al. 2021, SimCSE); `words` masks words independently; `span` masks one run of
words."""


def words(tokens: Tensor) -> Tensor:
    """Return True for each token that is a word: not PAD, BOS or EOS; (B, T) → (B, T)."""
    return (tokens != PAD) & (tokens != BOS) & (tokens != EOS)


def augment(tokens: Tensor, kind: Kind, rate: float) -> Tensor:
    """Return a random augmentation of each sentence; (B, T) → (B, T).

    On average a fraction `rate` of the words becomes UNK; lengths stay. Raise UserError for an unknown
    kind.
    """
    if kind == "dropout":
        return tokens
    if kind == "words":
        return mask_words(tokens, rate)
    if kind == "span":
        return mask_span(tokens, rate)
    raise UserError(f"no augmentation '{kind}'" + did_you_mean(kind, get_args(Kind)))


def mask_words(tokens: Tensor, rate: float) -> Tensor:
    """Replace each word by UNK with probability `rate` (word dropout, Bowman et al. 2016); (B, T)."""
    if not rate:
        return tokens
    return tokens.masked_fill(_select(tokens, rate), UNK)


def mask_span(tokens: Tensor, rate: float) -> Tensor:
    """Replace one run of words of each sentence by UNK, at a uniform position; (B, T) → (B, T).

    The length of the run is `rate` times the number of words, rounded up or down at random so that the
    expected length is exact (one span of Joshi et al. 2020, SpanBERT).
    """
    is_word = words(tokens)
    counts = is_word.sum(dim=1)
    uniform = distributed.rand(len(tokens), 2, device=tokens.device).t()
    lengths = (rate * counts + uniform[0]).long().clamp(max=counts)
    starts = (uniform[1] * (counts - lengths + 1)).long()
    places = is_word.cumsum(dim=1) - 1  # (B, T): the index of a word among the words of its sentence
    inside = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
    return tokens.masked_fill(inside & is_word, UNK)


def delete_words(tokens: Tensor, rate: float) -> Tensor:
    """Delete each word with probability `rate`; later tokens move left, PAD fills the end; (B, T)."""
    if not rate:
        return tokens
    deleted = _select(tokens, rate)
    order = deleted.int().sort(dim=1, stable=True).indices
    return tokens.masked_fill(deleted, PAD).gather(1, order)


def shuffle_words(tokens: Tensor, distance: float) -> Tensor:
    """Move words at random by less than `distance` positions (Lample et al. 2018); (B, T) → (B, T)."""
    if not distance:
        return tokens
    places = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
    moved = places + distance * distributed.rand(*tokens.shape, device=tokens.device)
    # BOS sorts before every word, EOS and PAD after.
    fixed = places + (distance + 1.0) * (tokens != BOS)
    return tokens.gather(1, moved.where(words(tokens), fixed).argsort(dim=1))


def _select(tokens: Tensor, rate: float) -> Tensor:
    """Choose each word with probability `rate`; (B, T) → bool (B, T)."""
    return (distributed.rand(*tokens.shape, device=tokens.device) < rate) & words(tokens)
