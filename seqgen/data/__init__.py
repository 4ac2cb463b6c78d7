"""From a file to sentences to token ids to batches.

Imports `core` and `seqgen.corpora`. Start with `corpus.open_corpus`, which calls `files` (with `decoding` and
`tables`) or `huggingface`, keeps sentences in `sentence_store` and divides them by `splits`. Then `tokenizer`
(built by `tokenizer_pipelines`), `token_ids`, `batches` (of `batch.Batch`), and `augment` for corrupted
sentences.
"""
