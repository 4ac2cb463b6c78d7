"""Pure functions of tensors: losses, contrastive objectives, Gaussians, the chunked vocabulary projection.

Imports `core`; holds no state and no module. Start with `chunked_loss` and `gan_losses`.
"""
