"""Text generation with sequence GANs and small likelihood models.

    from seqgen import pretrain, adversarial, sample, evaluate

    run = pretrain("captions.txt", path="runs/captions")
    gan = adversarial(run, path="runs/captions-gan")
    for sentence in sample(gan, 20, temperature=0.8):
        print(sentence.text)
    print(evaluate(gan)["bleu"])

Importing the package imports nothing heavy: each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.api import decode, encode, evaluate, interpolate, reconstruct, sample, score
    from seqgen.errors import UserError
    from seqgen.run import Run, open_run
    from seqgen.text import open_corpus
    from seqgen.trained import Sentence, Trained, load
    from seqgen.training import adversarial, pretrain

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
    "Run": "run",
    "Sentence": "trained",
    "Trained": "trained",
    "UserError": "errors",
    "adversarial": "training",
    "decode": "api",
    "encode": "api",
    "evaluate": "api",
    "interpolate": "api",
    "load": "trained",
    "open_corpus": "text",
    "open_run": "run",
    "pretrain": "training",
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
