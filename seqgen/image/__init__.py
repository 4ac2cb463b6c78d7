"""Image models, on the contract, the loop and the run folder of the text algorithms.

Imports `report` and the folders above it, `algorithms` and `training` most. Start with `models.vae` or
`models.gan`; README.md has the commands and results. A subfolder imports only from those above it:

data          images from files, folders and the hub
networks      encoders, decoders, critics; pixel losses; settings
models        one file a model
runs          from settings to a run folder, and back
evaluation    metrics of a run
applications  anomalies, few labels, augmentation, figures

From Python, as from the command line (each name is loaded when it is first used):

    from seqgen import image

    run = image.train("vae", "photographs", size=64, run="runs/photographs")
    trained = image.load(run)
    pictures = trained.model.samples(16)  # (16, C, H, W), 0 to 1
    print(image.evaluate(trained, 1000)["samples"]["precision"])

The registry below names every model. Adding one is a file in `models` and a line here; a model that differs
from another by its settings alone is a line with those settings.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seqgen import algorithms
from seqgen.algorithms import Entry

if TYPE_CHECKING:
    from seqgen.image.evaluation.evaluate import evaluate
    from seqgen.image.runs.load import TrainedImages, load
    from seqgen.image.runs.setup import train

__all__ = ["MODELS", "TrainedImages", "evaluate", "get", "load", "train"]

_HOMES = {
    "TrainedImages": "runs.load",
    "evaluate": "evaluation.evaluate",
    "load": "runs.load",
    "train": "runs.setup",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqgen.image' has no attribute '{name}'")
    return getattr(importlib.import_module(f"seqgen.image.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
