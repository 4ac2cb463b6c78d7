"""Pure functions of tensors: losses, densities, and the projection onto the vocabulary.

Imports `core`; nothing here has parameters or a state. Start with `chunked_loss`, the NLL of text without the
logits of a batch.

gan_losses          losses of discriminators and generators by name, for text and images
contrastive_losses  contrastive losses, and rewards computed from the same similarities
dropout             dropout that costs little on the CPU
gaussian            KL, samples and densities of diagonal Gaussians, active units, mutual information
implicit_posterior  posteriors without a density, and bounds of their divergence from the prior
vocab_projection    products with the vocabulary matrix in chunks that stay in the cache
"""
