"""How much dropout and weight decay a training needs: by how often each parameter has to fit each token.

That is the number of parameters for each token of the text, times the passes over it; in the first passes
little has been learnt by heart yet, whatever the text. The parameters are those between embedding and head.
Rows of the vocabulary are left out: each is fitted by its own word alone, and of a text with more words they
are more without the text's being easier to learn by heart. Chosen by validation sentences of seven kinds of
text; seqgen/bench/README.md has the figures.
"""

import math
from dataclasses import replace
from typing import TypeVar

import torch

from seqgen.data.tokenizer import SPECIALS
from seqgen.models.base import GeneratorConfig

G = TypeVar("G", bound=GeneratorConfig)

LEAST, USUAL, MOST = 0.1, 0.25, 0.4
"""Dropout of few passes over long texts, of many over short ones, and of very many."""
SOME_FITS, MANY_FITS = (8.0, 16.0), (200.0, 500.0)
SOME_PASSES = (10.0, 20.0)
"""Where dropout rises from one of these to the next."""


def with_dropout(generator: G, tokens: int, passes: float) -> G:
    """Fill in a generator's dropout for training by so many passes over a text of so many tokens."""
    if generator.dropout is not None:
        return generator
    fits = _inner_parameters(generator) * passes / max(tokens, 1)
    usual = min(_rise(fits, SOME_FITS), _rise(passes, SOME_PASSES))
    dropout = LEAST + (USUAL - LEAST) * usual + (MOST - USUAL) * min(_rise(fits, MANY_FITS), usual)
    return replace(generator, dropout=round(dropout, 3))


def _rise(value: float, between: tuple[float, float]) -> float:
    """Return how far a value is from one bound to the other in its logarithm, from 0 to 1."""
    low, high = between
    return min(max(math.log(max(value, low) / low) / math.log(high / low), 0.0), 1.0)


def decay_for(dropout: float | None) -> float:
    """Return the weight decay that goes with a dropout: 0.01 at 0.1 and below, 0.05 at 0.55."""
    return round(0.01 + 0.04 * max((dropout or 0.0) - LEAST, 0.0) / 0.45, 4)


def _inner_parameters(generator: GeneratorConfig) -> int:
    """Count a generator's parameters but for those of its vocabulary, by building it for the least one."""
    with torch.device("meta"):
        built = replace(generator, dropout=0.0, latent_skip=False).build(len(SPECIALS))
    return sum(weight.numel() for weight in built.parameters())
