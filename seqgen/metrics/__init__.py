"""Metrics of sets of sentences and of feature vectors, as pure functions.

Imports `core`, `ngrams` and `data`. Start with `bleu`.
"""

from seqgen.metrics.bleu import bleu, self_bleu

__all__ = ["bleu", "self_bleu"]
