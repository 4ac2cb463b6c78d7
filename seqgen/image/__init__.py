"""Image models, one file each, on the contract, the loop and the run folder of the text algorithms.

The registry names every model; adding one is a file here and a line below.
"""

from typing import Any

from seqgen import algorithms

MODELS = {
    "autoencoder": "seqgen.image.ae:Autoencoder",
    "sparse-autoencoder": "seqgen.image.ae:SparseAutoencoder",
    "denoising-autoencoder": "seqgen.image.ae:DenoisingAutoencoder",
    "vae": "seqgen.image.vae:VAE",
    "gan": "seqgen.image.gan:GAN",
    "vae-gan": "seqgen.image.vae_gan:VAEGAN",
    "avb": "seqgen.image.avb:AVB",
    "aegan": "seqgen.image.aegan:ImageAEGAN",
}
"""What `seqgen image train NAME` trains."""


def get(name: str) -> Any:
    """Return a model's class; UserError with the nearest name where there is none."""
    return algorithms.get(name, MODELS)
