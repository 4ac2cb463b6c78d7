"""Neural networks: modules and their states. They know nothing of losses, rewards or training.

Imports `functional`, `ngrams` and the special token ids of `data`. Start with `base`, the interface of a
generator; no other folder names a class of generator.

rnn_generator, transformer_generator, relational_memory   the generators, `generator.kind` in the settings
vocab_head, calibration, value_head                       what reads the hidden states of a generator
ngram_mixture                                             a generator's probabilities mixed with counts
state                                                     states as tuples of tensors: select, repeat
discriminator, critic                                     scores of sentences, of soft one-hots, of latents
posterior_critic                                          the critic of adversarial variational Bayes
encoder                                                   sentences to latent vectors
batch_norm                                                batch normalisation, of a batch that processes share
"""
