"""From a file to sentences to token ids to batches.

Imports `core` and `seqgen.corpora`. README.md says how text is read. Start with `corpus.open_corpus`, which
calls `files` or `huggingface`, keeps sentences in `sentence_store` and divides them by `splits`. `files`
calls `decoding` for text and `tables` for the rest: `delimited`, `json_rows` and Parquet; `reading` has their
options. Then `tokenizer` (built by `tokenizer_pipelines`), `token_ids`, `batches` (of `batch.Batch`), and
`augment` for corrupted sentences.
"""
