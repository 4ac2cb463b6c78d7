"""What one does with a trained run: samples, latent vectors, scores, maps.

Imports `training` and the folders above it. Start with `generate`, which samples in constant memory.

sample_file                samples in a file, where an interrupted command goes on
latent_space               encoding, decoding, interpolation, nearest neighbours
scoring                    log-probabilities and energies of sentences, and what they detect
shared_draw                sampling that several processes share
latent_map, projection_2d  latent vectors in the plane
"""
