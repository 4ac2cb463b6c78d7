"""From settings to a run folder: the loop, checkpoints, and everything that a training needs before it.

Imports `algorithms` and the folders above it. Start with `setup`, what `seqgen pretrain` and `seqgen
adversarial` do; then `loop`, the only training loop, of text and images.

job          a training that is ready to start, shared with images
data_config  the settings of the corpus and the tokenizer
run_folder   the files of a run, written atomically
load         a run read back: algorithm, tokenizer, corpus
"""
