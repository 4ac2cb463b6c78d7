"""How much dropout and weight decay a text needs, by the parameters that there are for each of its tokens.

The parameters are those between embedding and head. Rows of the vocabulary are left out: each is fitted by
its own word alone, and of a text with more words they are more without the text's being easier to learn by
heart. Texts of 2,000 to 16,000 sentences, trained as long as by default, agree within 0.01 nats a token of
their best dropout where it is 0.25 (the table in seqgen/bench/README.md).
"""

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from seqgen.data.tokenizer import SPECIALS
from seqgen.models.base import GeneratorConfig

G = TypeVar("G", bound=GeneratorConfig)

PARAMETERS_PER_TOKEN = (0.5, 0.9, 8.0, 20.0)
DROPOUTS = (0.1, 0.25, 0.25, 0.4)
"""Dropout at each of these ratios, linear in their logarithm between them and constant beyond."""


def with_dropout(generator: G, tokens: int) -> G:
    """Fill in a generator's dropout for a number of training tokens: the fewer, the more of it."""
    if generator.dropout is not None:
        return generator
    ratio = _inner_parameters(generator) / max(tokens, 1)
    dropout = np.interp(math.log(ratio), np.log(PARAMETERS_PER_TOKEN), DROPOUTS)
    return replace(generator, dropout=round(float(dropout), 3))


def decay_for(dropout: float | None) -> float:
    """Return the weight decay that goes with a dropout: 0.01 at 0.1 and below, 0.05 at 0.55."""
    return round(0.01 + 0.04 * max((dropout or 0.0) - 0.1, 0.0) / 0.45, 4)


def _inner_parameters(generator: GeneratorConfig) -> int:
    """Count a generator's parameters but for those of its vocabulary, by building it for the least one."""
    with torch.device("meta"):
        built = replace(generator, dropout=0.0).build(len(SPECIALS))
    return sum(weight.numel() for weight in built.parameters())
