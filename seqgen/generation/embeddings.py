"""Embeddings of sentences by the states of a generator."""

from torch import Tensor

from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import shifted
from seqgen.models.base import Generator


def sentence_embeddings(generator: Generator, tokens: Tensor) -> Tensor:
    """Return the mean of the states that a sentence's tokens are predicted from; (B, T) ids → (B, H)."""
    mask = tokens != PAD
    states, _ = generator.representations(shifted(tokens), generator.initial(len(tokens)))
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
