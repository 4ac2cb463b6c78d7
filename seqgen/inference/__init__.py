"""What one does with a trained run: latent vectors, scores, maps.

Imports `training` and what stands above it. Start with `latent_space`.
"""
