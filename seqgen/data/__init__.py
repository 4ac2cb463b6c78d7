"""From a file to sentences to token ids to batches.

Imports `core` and `seqgen.corpora`. Start with `corpus.open_corpus`, then `tokenizer`, `token_ids` and
`batches`.
"""
