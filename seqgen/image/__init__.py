"""Image models, on the contract, the loop and the run folder of the text algorithms.

Imports `report` and the folders above it, `algorithms` and `training` most. Start with `models.vae` or
`models.gan`; README.md has the commands and results. A subfolder imports only from those above it:

data          images from files, folders and the hub
networks      encoders, decoders, critics; pixel losses; settings
models        one file a model
runs          from settings to a run folder, and back
evaluation    metrics of a run
applications  anomalies, few labels, augmentation, figures

The registry below names every model. Adding one is a file in `models` and a line here; a model that differs
from another by its settings alone is a line with those settings.
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
