"""N-gram counts, and the Kneser–Ney language model estimated from them.

Imports nothing of seqgen. Start with `ngrams`, which counts by sorting integer ids.

sparse_ngrams  counts as a sparse matrix of sentences by n-grams
kneser_ney     the language model
count_tables   the same over token ids, as tensors for `seqgen.models.ngram_mixture`
ngram_sampler  sentences sampled from it, the baseline of every evaluation
"""
