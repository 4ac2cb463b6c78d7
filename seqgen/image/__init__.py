"""Image models, one file each, on the contract, the loop and the run folder of the text algorithms.

Start with `models.gan` or `models.vae`. The registry names every model: adding one is a file in `models` and
a line below; one that differs from another by its settings alone is a line with those settings.
"""

from seqgen import algorithms
from seqgen.algorithms import Entry

MODELS = {
    "autoencoder": Entry("seqgen.image.models.autoencoder:Autoencoder"),
    "sparse-autoencoder": Entry(
        "seqgen.image.models.autoencoder:Autoencoder", {"latent_dim": 128, "sparsity_weight": 0.1}
    ),
    "denoising-autoencoder": Entry(
        "seqgen.image.models.autoencoder:Autoencoder", {"latent_dim": 64, "noise_std": 0.3}
    ),
    "vae": Entry("seqgen.image.models.vae:VAE"),
    "gan": Entry("seqgen.image.models.gan:GAN"),
    "vae-gan": Entry("seqgen.image.models.vae_gan:VAEGAN"),
    "avb": Entry("seqgen.image.models.avb:AVB"),
    "aegan": Entry("seqgen.image.models.aegan:ImageAEGAN"),
}
"""What `seqgen image train NAME` trains."""


def get(name: str) -> Entry:
    """Return the entry of a model's name; UserError with the nearest name where there is none."""
    return algorithms.get(name, MODELS)
