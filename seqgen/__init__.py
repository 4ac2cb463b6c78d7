"""Text generation with sequence GANs and small likelihood models.

    from seqgen import pretrain, adversarial, sample, evaluate

    run = pretrain("captions.txt", run="runs/captions")
    gan = adversarial(run, run="runs/captions-gan")
    for sentence in sample(gan, 20, temperature=0.8):
        print(sentence.text)
    print(evaluate(gan)["bleu"])

Importing the package imports nothing heavy: each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.api import decode, encode, evaluate, interpolate, reconstruct, sample, score
    from seqgen.core.errors import UserError
    from seqgen.data.corpus import open_corpus
    from seqgen.inference.sentence import Sentence
    from seqgen.training.load import Trained, load
    from seqgen.training.run_folder import Run, open_run
    from seqgen.training.setup import adversarial, pretrain

__all__ = [
    "Run",
    "Sentence",
    "Trained",
    "UserError",
    "adversarial",
    "decode",
    "encode",
    "evaluate",
    "interpolate",
    "load",
    "open_corpus",
    "open_run",
    "pretrain",
    "reconstruct",
    "sample",
    "score",
]

_HOMES = {
    "Run": "training.run_folder",
    "Sentence": "inference.sentence",
    "Trained": "training.load",
    "UserError": "core.errors",
    "adversarial": "training.setup",
    "decode": "api",
    "encode": "api",
    "evaluate": "api",
    "interpolate": "api",
    "load": "training.load",
    "open_corpus": "data.corpus",
    "open_run": "training.run_folder",
    "pretrain": "training.setup",
    "reconstruct": "api",
    "sample": "api",
    "score": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqgen' has no attribute '{name}'")
    return getattr(importlib.import_module(f"seqgen.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
