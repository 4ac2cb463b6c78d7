"""What an energy reads of sentences, by one reading of their generator: log-probabilities and states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.device import is_host, leaves_out
from seqgen.data.batches import bounded_rows
from seqgen.data.folds import fold_of
from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import log_prob_of_states, shifted
from seqgen.models.base import Generator, evaluating
from seqgen.models.energy import Read
from seqgen.models.ngram_mixture import NGramMixture

READ, READ_ON_HOST = 1024, 256
"""Sentences that networks read at a time."""


@dataclass(frozen=True)
class Reader:
    """A generator, or its mixture with n-grams, as what an energy knows of sentences."""

    generator: Generator
    mixture: NGramMixture | None
    of_sentence: Callable[[Tensor], Tensor]
    """which tokens are drawn, (B, T) → bool (B, T); others are padding, or given to a sentence"""

    def read(self, tokens: Tensor, known: Tensor | None = None, *, states: bool) -> Read:
        """Return B sentences (B, T) with what is known of them; on a host as wide as the longest of them.

        known: log-probabilities of the last K of them by what has drawn them, (K, T); others are scored here.
        states: whether states, and the head's weight that gives logits by them, are wanted.
        """
        if is_host(tokens.device):
            longest = max(1, distributed.maximum(int((tokens != PAD).any(dim=0).sum())))
            tokens, known = tokens[:, :longest], None if known is None else known[:, :longest]
        new = len(tokens) - (0 if known is None else len(known))
        if not states and known is not None and not new:
            return Read(tokens, known)
        read = self._states(tokens if states else tokens[:new])
        parts = [self._log_probs(tokens[:new], read[:new])] if new or known is None else []
        log_probs = torch.cat(parts if known is None else [*parts, known])
        if not states:
            return Read(tokens, log_probs)
        return Read(tokens, log_probs, read, self.generator.head.weight.detach())

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Return the log-probability of every token, in nats, 0 where none is drawn; (B, T) → (B, T)."""
        return self._log_probs(tokens, self._states(tokens))

    def _states(self, tokens: Tensor) -> Tensor:
        """Return the states from which the generator predicts tokens; (B, T) → (B, T, H)."""
        with torch.no_grad(), evaluating(self.generator):
            return self.generator.hidden(shifted(tokens), self.generator.initial(len(tokens)))[0]

    def _log_probs(self, tokens: Tensor, states: Tensor) -> Tensor:
        found = log_prob_of_states(self.generator.head, tokens, states, mixture=self.mixture)
        return found.masked_fill(~self.of_sentence(tokens), 0)


def log_probs_of_folds(readers: Sequence[Reader], tokens: Tensor) -> Tensor:
    """Return the log-probabilities of tokens, each sentence by the reader of its fold; (B, T) → same."""
    fold = fold_of(tokens, len(readers))
    if not leaves_out(tokens.device):  # shapes must not depend on the sentences: all readers read all
        found = torch.stack([reader.log_probs(tokens) for reader in readers])
        return found[fold, torch.arange(len(tokens), device=tokens.device)]
    rows = [(fold == number).nonzero()[:, 0] for number in range(len(readers))]
    pairs = zip(readers, rows, strict=True)
    found = torch.cat([reader.log_probs(tokens[own]) for reader, own in pairs if len(own)])
    return found[torch.cat(rows).argsort()]


def parts(tokens: Tensor) -> Sequence[Tensor]:
    """Return the indices of sentences (B, T) in parts that networks read at a time.

    Sentences of a part are of like length where shapes may depend on it, so that few read others' padding.
    """
    if not (leaves_out(tokens.device) and len(tokens)):
        return torch.arange(len(tokens), device=tokens.device).split(READ)
    lengths = (tokens != PAD).sum(dim=1).numpy()
    return [torch.from_numpy(rows) for rows in bounded_rows(lengths, rows=READ_ON_HOST)]
