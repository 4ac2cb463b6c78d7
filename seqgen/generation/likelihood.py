"""Likelihood of text under a model: -log p summed in float64 over real tokens, EOS included, padding not."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.device import widened
from seqgen.data.batches import bounded_rows
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import PAD, UNK
from seqgen.generation.sample import log_prob
from seqgen.metrics.confidence import Bootstrap
from seqgen.models.base import evaluating
from seqgen.models.ngram_mixture import NGramMixture


@dataclass(frozen=True)
class Likelihood:
    """A text's total negative log-likelihood, and what it is divided by."""

    nats: float
    tokens: int
    """Real tokens: every word and every EOS, no padding."""
    sentences: int
    unknown: int = 0
    """Tokens that are UNK: the model is not asked which word it was, so many of them make it look better."""
    interval: tuple[float, float] | None = None
    """95 % of `nats_per_token`, bootstrap over sentences."""
    samples: int | None = None
    """Latent vectors of each sentence by which an estimate was made; None where the likelihood is exact."""

    @property
    def nats_per_token(self) -> float:
        """NLL a token; depends on the tokenizer, so it compares models of one tokenizer only."""
        return self.nats / self.tokens

    @property
    def nats_per_sentence(self) -> float:
        """NLL a sentence, comparable with a grammar's entropy and across tokenizers without unknown words."""
        return self.nats / self.sentences

    @property
    def perplexity(self) -> float:
        """exp(NLL a token), infinite where that overflows."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 709 else math.inf

    def as_dict(self) -> dict[str, float | None]:
        """Return every value under its name; None in place of what JSON cannot hold."""
        return {
            "nats_per_token": self.nats_per_token,
            "perplexity": self.perplexity if math.isfinite(self.perplexity) else None,
            "nats_per_sentence": self.nats_per_sentence,
            "tokens": self.tokens,
            "sentences": self.sentences,
            "unknown": self.unknown,
            "samples": self.samples,
        }


@torch.no_grad()
def likelihood(
    score: Callable[[Tensor], Tensor], batches: Iterable[Tensor], *, seed: int | None = None
) -> Likelihood:
    """Sum -log p over batches of ids (B, T), each row a sentence, EOS, then PAD.

    `score` gives the (B, T) log-probabilities of a model in evaluation mode; what it gives at PAD is ignored.
    With a seed the interval is computed, too.
    """

    def log_probs(batch: Tensor) -> Tensor:
        return widened(score(batch)).masked_fill(batch == PAD, 0.0).sum(dim=1)

    return sentence_likelihood(log_probs, batches, seed=seed)


@torch.no_grad()
def sentence_likelihood(
    score: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    *,
    counted: Callable[[Tensor], Tensor] = lambda tokens: tokens != PAD,
    seed: int | None = None,
) -> Likelihood:
    """Sum -log p over batches of ids (B, T) where `score` gives log p of whole sentences, (B,).

    counted: the tokens that these are made of, (B, T) → bool (B, T).
    """
    nats: list[float] = []
    tokens: list[int] = []
    unknown = 0
    for batch in batches:
        nats += (-widened(score(batch))).tolist()
        tokens += counted(batch).sum(dim=1).tolist()
        unknown += int((batch == UNK).sum())
    return of_sentences(nats, tokens, unknown=unknown, seed=seed)


def of_sentences(
    nats: Sequence[float], tokens: Sequence[int], *, unknown: int = 0, seed: int | None = None
) -> Likelihood:
    """Add up sentences of so many nats and tokens each; with a seed the interval is computed, too."""
    interval = None
    if seed is not None and len(nats):
        interval = Bootstrap(len(nats), seed).ratio(np.array(nats), np.array(tokens, float))
    return Likelihood(math.fsum(nats), sum(tokens), len(nats), unknown, interval)


def generator_likelihood(
    generator: Any,
    batches: Iterable[Tensor],
    *,
    mixture: NGramMixture | None = None,
    seed: int | None = None,
) -> Likelihood:
    """Sum -log p of batches of ids (B, T) under a generator, without dropout; see `likelihood`.

    With a `mixture`, under that of the generator with n-grams.
    """
    with evaluating(generator):
        return likelihood(partial(log_prob, generator, mixture=mixture), batches, seed=seed)


def bounded_batches(ids: Ids, *, rows: int = 128, positions: int = 32_768) -> Iterator[Tensor]:
    """Yield every sentence once, short ones first, in batches (B, T) of bounded size (`bounded_rows`)."""
    for chosen in bounded_rows(ids.lengths(), rows=rows, positions=positions):
        yield ids.batch(chosen)
