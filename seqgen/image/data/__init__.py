"""Images from files, folders and the hub, and batches of them.

Imports `core` and `seqgen.data`. Start with `dataset.open_images`; `files` reads IDX, Parquet and picture
files.
"""
