"""From a file to sentences to token ids to batches.

Imports `core` and `seqgen.corpora`. Start with `corpus.open_corpus`, which calls `files` (with `decoding`, and
`tables` for `delimited`, `json_rows` and Parquet; `reading` has their options) or `huggingface`, keeps sentences
in `sentence_store` and divides them by `splits`. README.md says how files are read. Then `tokenizer` (built by `tokenizer_pipelines`), `token_ids`, `batches` (of `batch.Batch`), and `augment` for corrupted
sentences.
"""
