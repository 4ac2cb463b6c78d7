"""From settings to a run folder: the loop, checkpoints, and everything that a training needs before it.

Imports `algorithms` and the folders above it. Start with `setup`, what `seqgen pretrain` and `seqgen
adversarial` do; then `loop`, the only training loop, of text and images.

job            a training that is ready to start, shared with images
text_job       the same of text: a corpus encoded, an algorithm built
start          the run that a training starts from
cross_fitting  generators without a fold of the corpus, trained before what learns from their scores
data_config    the settings of the corpus and the tokenizer
oracle_corpus  the samples of an oracle as a corpus
paths          paths as a run stores them: what lies beside it moves with it
folder_lock    one process at a time in a folder, and no way out of it
time_budget    how many steps there is time for
run_list       what a folder of runs holds
run_folder     the files of a run, written atomically
run_config     what the configuration of a run may say
weight_shapes  whether the model that it describes has the shapes of the kept weights
checkpoint     what a checkpoint must be like to be resumed
load           a run read back: algorithm, tokenizer, corpus
"""
