"""Image models, one file each, on the contract, the loop and the run folder of the text algorithms.

The registry names every model; adding one is a file here and a line below.
"""

from typing import Any

from seqgen import algorithms

MODELS = {
    "autoencoder": "seqgen.image.models.autoencoder:Autoencoder",
    "sparse-autoencoder": "seqgen.image.models.autoencoder:SparseAutoencoder",
    "denoising-autoencoder": "seqgen.image.models.autoencoder:DenoisingAutoencoder",
    "vae": "seqgen.image.models.vae:VAE",
    "gan": "seqgen.image.models.gan:GAN",
    "vae-gan": "seqgen.image.models.vae_gan:VAEGAN",
    "avb": "seqgen.image.models.avb:AVB",
    "aegan": "seqgen.image.models.aegan:ImageAEGAN",
}
"""What `seqgen image train NAME` trains."""


def get(name: str) -> Any:
    """Return a model's class; UserError with the nearest name where there is none."""
    return algorithms.get(name, MODELS)
