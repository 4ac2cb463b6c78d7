"""Inference with a trained run: sampling, latents, scores, 2-D maps.

Imports `training` and what stands above it. Start with `latent_space`.
"""
