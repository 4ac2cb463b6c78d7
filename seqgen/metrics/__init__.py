"""Metrics of sets of sentences and of feature vectors, as pure functions.

Imports `core`, `ngrams` and `data`; never a model of this package or a run. Start with `bleu`.

bleu, corpus_bleu, diversity, copying  of sentences
reconstruction                         of latents: BLEU of reconstructions and its control
set_metrics                            of a whole set, with what its intervals need (`confidence`)
embeddings, precision_recall           of feature vectors
classifier, auroc                      how well two sets can be told apart
protocols, tokenization                what must be equal for metrics to compare
"""

from seqgen.metrics.bleu import bleu, self_bleu

__all__ = ["bleu", "self_bleu"]
