"""How much dropout and weight decay a training needs: by how often its parameters have to fit each token.

That is the number of parameters for each token of the text, times the passes over it: the more often, the
more is learnt by heart. Those of the vocabulary's rows, embedding and head, count twice: each row has the
occurrences of its own word alone. In the first six passes nothing has been learnt by heart, whatever the
text. Chosen by validation sentences of seven kinds of text; seqgen/bench/README.md has the figures.
"""

import math
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch

from seqgen.data.tokenizer import SPECIALS
from seqgen.models.base import GeneratorConfig

G = TypeVar("G", bound=GeneratorConfig)

LEAST = 0.1
"""Dropout of many passes over long texts; over short ones it is that of the kind, `most_dropout`."""
FITS = 90.0, 550.0
PASSES = 10.0, 20.0
"""Where it rises from the least to the most."""
FIRST_PASSES = 6.0, 10.0
"""Where it rises from none to the least."""
OF_VOCABULARY = 2
"""How much a parameter of the vocabulary's rows counts."""
LEAST_DECAY, MOST_DECAY_AT = 0.01, 0.3
"""Weight decay at the least dropout and below; the dropout from which on it is the most."""


class TextSize(NamedTuple):
    """How much text there is to learn from."""

    sentences: int
    tokens: int
    """of all sentences, ends included"""
    vocab_size: int


def with_dropout(generator: G, text: TextSize, passes: float) -> G:
    """Fill in a generator's dropout for training by so many passes over a text."""
    if generator.dropout is not None:
        return generator
    fits = _parameters(generator, text.vocab_size) * passes / max(text.tokens, 1)
    more = (generator.most_dropout - LEAST) * min(_rise(fits, FITS), _rise(passes, PASSES))
    return replace(generator, dropout=round(LEAST * _rise(passes, FIRST_PASSES) + more, 3))


def _rise(value: float, between: tuple[float, float]) -> float:
    """Return how far a value is from one bound to the other in its logarithm, from 0 to 1."""
    low, high = between
    return min(max(math.log(max(value, low) / low) / math.log(high / low), 0.0), 1.0)


def decay_for(dropout: float | None, most: float) -> float:
    """Return the weight decay that goes with a dropout: 0.01 at 0.1 and below, the most at 0.3 and above."""
    rise = (min(max(dropout or 0.0, LEAST), MOST_DECAY_AT) - LEAST) / (MOST_DECAY_AT - LEAST)
    return round(LEAST_DECAY * (most / LEAST_DECAY) ** rise, 4)


def _parameters(generator: GeneratorConfig, vocab_size: int) -> int:
    """Count a generator's parameters, those of the vocabulary as often as they count."""
    inner = _size(generator, len(SPECIALS))
    return inner + OF_VOCABULARY * (_size(generator, vocab_size) - inner)


def _size(generator: GeneratorConfig, vocab_size: int) -> int:
    """Count the parameters of a generator, by building it where that takes no memory."""
    with torch.device("meta"):
        built = replace(generator, dropout=0.0, latent_skip=False).build(vocab_size)
    return sum(weight.numel() for weight in built.parameters())
