"""The Kneser–Ney model of `kneser_ney` over token ids, as sorted tensors that are looked up on any device.

The formula is that module's, and so are counts and discounts; here is how a batch of prefixes looks them up.
Every n-gram has a number: a token id its own, below V, and the n-grams of two and more tokens V, V + 1, … in
the order of one sorted tensor of keys, `number of all but the last token · V + last token`. An n-gram's
context has a lower number than itself, so the keys of all orders lie in one tensor, and one search finds the
continuation of a prefix in all of them. Number 0, PAD, stands for "never seen": nothing ever follows it.

Of a prefix the numbers of its last 1, 2, … order - 1 tokens are kept: its *contexts*, (…, L) with
L = order - 1, the shortest first.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import BOS, PAD
from seqgen.ngrams.kneser_ney import adjusted_counts, ngram_table, unigram_probs
from seqgen.ngrams.ngrams import Ints

NONE = PAD
"""The number of an n-gram that was never seen: the id that no sentence holds."""
BITS = 38
"""Probabilities are whole multiples of 2^-38: sums of them are exact and the same on every device."""
DRAW_BITS = 24
"""Random bits of a draw; a sum of probabilities times a number of so many bits fits 64 bits."""


class NGramCounts(NamedTuple):
    """All that a model is made of: the n-grams of a text."""

    keys: Tensor
    """Of the G n-grams of two tokens and more, ascending; int64 (G,)."""
    counts: Tensor
    """Adjusted counts of the V token ids, then of those n-grams; int32 (V + G,)."""
    sizes: Tensor
    """How many n-grams there are of 1, 2, … tokens; int64 (order,)."""


class NGramTables(NamedTuple):
    """The probabilities of a Kneser–Ney model; V token ids, G n-grams of two tokens and more."""

    keys: Tensor
    """Of those n-grams, ascending; int64 (G,), one at least."""
    cumulative: Tensor
    """Running sum of their discounted probabilities (c - D) / C, in units of 2^-38; int64 (G + 1,)."""
    first: Tensor
    """Where the n-grams that begin with each context begin; int64, one more than contexts."""
    unigrams: Tensor
    """Probability of each token id, 0 of those below 2; (V,)."""
    widths: tuple[int, ...]
    """The most tokens that follow one context of 1, 2, … tokens."""

    @property
    def levels(self) -> int:
        """L, the numbers kept of a prefix."""
        return len(self.widths)

    def begin(self, batch: int) -> Tensor:
        """Return the contexts of `batch` sentences before anything was read, BOS included; (B, L)."""
        return torch.full((batch, self.levels), NONE, device=self.keys.device)

    def find(self, contexts: Tensor, tokens: Tensor | int) -> Tensor:
        """Return the place among the keys of each context with a token after it, G where there is none.

        contexts (…, L), tokens (…,) or one for all of them → (…, L).
        """
        last = tokens[..., None] if isinstance(tokens, Tensor) else tokens
        wanted = contexts * len(self.unigrams) + last
        place = torch.searchsorted(self.keys, wanted)
        clipped = place.clamp(max=len(self.keys) - 1)
        return clipped.where(self.keys[clipped] == wanted, len(self.keys))

    def numbers(self, places: Tensor) -> Tensor:
        """Return the numbers of the n-grams at places that `find` gave."""
        return (places + len(self.unigrams)).where(places < len(self.keys), NONE)

    def read(self, tokens: Tensor, contexts: Tensor) -> Tensor:
        """Read T tokens (B, T) after prefixes, by their contexts (B, L) → contexts after each, (B, T, L)."""
        if tokens.shape[1] == 1:  # a step: one search for all levels
            longer = self.numbers(self.find(contexts[:, :-1], tokens[:, 0]))
            return torch.cat((tokens, longer), dim=1)[:, None]
        after = [tokens]
        for level in range(self.levels - 1):
            # What ends before each token, and one token longer what ends with it.
            before = torch.cat((contexts[:, level : level + 1], after[-1][:, :-1]), dim=1)
            after.append(self.numbers(self.find(before[..., None], tokens)[..., 0]))
        return torch.stack(after, dim=-1)

    def mass(self, found: Tensor) -> Tensor:
        """Return the discounted probability of the n-grams at these places, in units; int64."""
        end = (found + 1).clamp(max=len(self.keys))
        return self.cumulative[end] - self.cumulative[found]

    def spans(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places of the n-grams that begin with each context: the first, and one past the last."""
        return self.first[contexts], self.first[contexts + 1]

    def backoff(self, contexts: Tensor, dtype: torch.dtype) -> Tensor:
        """Return gamma, the probability of going on to the next shorter context; 1 of one never seen."""
        first, last = self.spans(contexts)
        return rest(self.cumulative[last] - self.cumulative[first], dtype)

    def probs(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """Return p(token | prefix); contexts (…, L), tokens (…,) → (…,)."""
        probs = self.unigrams[tokens]
        direct = self.mass(self.find(contexts, tokens)).to(probs.dtype) * 2.0**-BITS
        backoff = self.backoff(contexts, probs.dtype)
        for level in range(self.levels):
            probs = direct[..., level] + backoff[..., level] * probs
        return probs

    def distribution(self, contexts: Tensor) -> Tensor:
        """Return p of every token; (R, L) → (R, V)."""
        rows, vocab_size = len(contexts), len(self.unigrams)
        probs = self.unigrams.expand(rows, -1).contiguous()
        backoff = self.backoff(contexts, probs.dtype)
        for level, widest in enumerate(self.widths):
            first, last = self.spans(contexts[:, level, None])
            is_host = contexts.device.type == "cpu"  # there looking costs nothing: no wider than needed
            width = int((last - first).amax()) if is_host and rows else widest
            places = first + torch.arange(width, device=first.device)  # (R, width)
            inside = places < last
            places = places.clamp(max=len(self.keys) - 1)
            mass = (self.mass(places) * inside).to(probs.dtype) * 2.0**-BITS
            probs = probs * backoff[:, level, None]
            # Neighbours of the last one are added as 0.
            probs.scatter_add_(1, self.keys[places] % vocab_size, mass)
        return probs


def rest(mass: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what a probability in units leaves of 1."""
    return ((1 << BITS) - mass).to(dtype) * 2.0**-BITS


def stream(sentences: Ids) -> Ints:
    """Return sentences one after the other, each begun by BOS; ids (P,)."""
    return np.insert(np.asarray(sentences.tokens, np.int64), sentences.offsets[:-1], BOS)


def count(stream: Ints, vocab_size: int, order: int) -> NGramCounts:
    """Count the n-grams of 1 … `order` tokens of sentences that follow each other, each begun by BOS.

    stream (P,) of token ids; an end that is not in it, as of a truncated sentence, is not counted.
    """
    keys, counts = adjusted_counts(stream, order, bos=BOS, base=vocab_size)
    offsets = np.cumsum([0, vocab_size, *(len(each) for each in keys[1:])])
    numbered = [each + offsets[m] * vocab_size for m, each in enumerate(keys[1:])]
    return NGramCounts(
        torch.from_numpy(np.concatenate(numbered)),
        torch.from_numpy(np.concatenate(counts).astype(np.int32)),
        torch.from_numpy(np.diff(offsets)),
    )


def check(counted: NGramCounts, vocab_size: int | None, order: int) -> None:
    """Raise ValueError for counts that no text of so many token ids, or any number of them, has."""
    keys, counts, sizes = (part.cpu() for part in counted)
    levels: list[int] = sizes.tolist()
    vocab_size = levels[0] if vocab_size is None else vocab_size
    is_whole = (
        len(levels) == order
        and levels[0] == vocab_size > BOS
        and min(levels) >= 0
        and len(counts) == sum(levels) == vocab_size + len(keys)
    )
    if not is_whole or (counts < 0).any() or (keys.diff() <= 0).any():
        raise ValueError("the counts of the n-grams are not those of a text")
    first, below = vocab_size, 0
    for contexts, size in pairwise(levels):
        part = keys[first - vocab_size : first - vocab_size + size]
        if size and not below * vocab_size <= part[0] <= part[-1] < (below + contexts) * vocab_size:
            raise ValueError("an n-gram begins with one that is not counted")
        first, below = first + size, below + contexts


def tables(counted: NGramCounts) -> NGramTables:
    """Return the model of such counts, on the CPU, its unigrams in float64."""
    keys, counts = counted.keys.cpu().numpy(), counted.counts.cpu().numpy().astype(np.float64)
    sizes: Sequence[int] = counted.sizes.tolist()
    vocab_size, contexts = sizes[0], sum(sizes[:-1])
    first = np.searchsorted(keys, np.arange(contexts + 1) * vocab_size)
    masses, widths = [], []
    start, below = vocab_size, 0  # the numbers of an order's first n-gram, and of its first context
    for context_count, size in pairwise(sizes):
        part = slice(start - vocab_size, start - vocab_size + size)
        local = keys[part] - below * vocab_size
        table = ngram_table(local, counts[start : start + size], context_count, vocab_size)
        total = table.total[local // vocab_size]
        masses.append(np.floor(table.discounted[:-1] / np.maximum(total, 1.0) * 2.0**BITS).astype(np.int64))
        widths.append(int(np.diff(first[below : below + context_count + 1]).max(initial=0)))
        start, below = start + size, below + context_count
    cumulative = np.concatenate([[0], np.cumsum(np.concatenate(masses))])
    unigrams = np.concatenate([np.zeros(BOS + 1), unigram_probs(counts[BOS + 1 : vocab_size])])
    return NGramTables(
        counted.keys.cpu(),
        torch.from_numpy(cumulative),
        torch.from_numpy(first),
        torch.from_numpy(unigrams),
        tuple(widths),
    )
