"""Images from files, folders and the hub, and batches of them.

Imports `core` and `seqgen.data`. Start with `dataset.open_images`.

pictures        one encoded picture → 8-bit pixels
folders         the split and the label that folders give to pictures
arrays          NumPy's files
parquet_images  the hub's files
files           all of these and IDX files, by a name or a path
dataset         splits, and batches of them
"""
