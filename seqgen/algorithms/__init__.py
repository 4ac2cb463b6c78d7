"""The algorithms, one file each: an nn.Module with a Config, `step`, `evaluate`, `sample` and `optimizers`.

The two registries name every algorithm of each verb; adding one is a file here and a line below.
"""

import importlib
from typing import Any

from seqgen.core.errors import UserError, did_you_mean

PRETRAIN = {
    "mle": "seqgen.algorithms.mle:MLE",
    "sentence-vae": "seqgen.algorithms.sentence_vae:SentenceVAE",
    "autoencoder": "seqgen.algorithms.autoencoder:Autoencoder",
    "denoising-autoencoder": "seqgen.algorithms.autoencoder:DenoisingAutoencoder",
}
"""What maximises likelihood: `seqgen pretrain NAME`."""

ADVERSARIAL = {
    "seqgan": "seqgen.algorithms.seqgan:SeqGAN",
    "aegan": "seqgen.algorithms.aegan:AEGAN",
    "contrastive": "seqgen.algorithms.contrastive_gan:ContrastiveGAN",
}
"""What plays a game: `seqgen adversarial NAME`."""


def get(name: str, registry: dict[str, str] | None = None) -> Any:
    """Return an algorithm's class; UserError with the nearest name where there is none."""
    known = registry if registry is not None else PRETRAIN | ADVERSARIAL
    if name not in known:
        raise UserError(f"no algorithm '{name}'" + did_you_mean(name, known))
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
