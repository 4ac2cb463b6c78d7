"""Noise of words: sentences with words blanked, left out or moved; the ends of sentences stay."""

import torch
from torch import Tensor

from seqgen.tokenizer import BOS, EOS, PAD, UNK


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
