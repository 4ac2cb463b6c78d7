"""What all rows of an evaluation are scored against: references, training text, language model, encoder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.metrics.corpus_bleu import tokenisation_of, tokenizer_for
from seqgen.metrics.embeddings import LSA, Encode, choose_encoder
from seqgen.metrics.protocols import Protocol, check, get_protocol
from seqgen.metrics.tokenization import AUTO, Tokenise, is_unspaced, tokeniser
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.kneser_ney import KneserNey
from seqgen.ngrams.ngrams import EncodedText, Floats, Ints, encode_sentences

CACHED_LINES = 65_536
MAX_TRAIN_SENTENCES = 100_000
"""Training sentences searched for common substrings; exact copies are searched in all of them."""


@dataclass
class Vocabulary:
    """Tokenises lines and maps tokens to ids, adding new tokens; texts encoded by it can be compared."""

    tokenisation: str
    ids: dict[str, int] = field(default_factory=dict)

    @cached_property
    def tokenise(self) -> Tokenise:
        """The tokeniser with a cache: it is slow, and lines are tokenised repeatedly, in several roles."""
        return lru_cache(maxsize=CACHED_LINES)(tokeniser(self.tokenisation))

    def encode(self, lines: Iterable[str]) -> EncodedText:
        """Tokenise lines and map their tokens to ids."""
        return encode_sentences(map(self.tokenise, lines), self.ids)


@dataclass
class References:
    """References and training sentences; everything derived from them is computed once, at its first use."""

    protocol: Protocol
    tokenisation: str
    refs: Sequence[str]
    train: Sequence[str] | None
    seed: int
    encoder: str
    """description of the sentence encoder"""
    embed_sentences: Encode | None
    """sentences to vectors; None: `LSA` of the references"""
    functions: Sequence[SentenceFunction] = ()
    """the user's own metrics, the mean of each over sentences"""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokenisation)

    @cached_property
    def encoded(self) -> EncodedText:
        """The references under the protocol's tokenisation."""
        return self.vocabulary.encode(self.refs)

    @property
    def sacrebleu_tokenizer(self) -> str:
        return tokenizer_for(self.tokenisation)

    @cached_property
    def sacrebleu_vocabulary(self) -> Vocabulary:
        tokenisation = tokenisation_of(self.sacrebleu_tokenizer)
        return self.vocabulary if tokenisation == self.tokenisation else Vocabulary(tokenisation)

    @cached_property
    def sacrebleu_encoded(self) -> EncodedText:
        same = self.sacrebleu_vocabulary is self.vocabulary
        return self.encoded if same else self.sacrebleu_vocabulary.encode(self.refs)

    @cached_property
    def encoded_train(self) -> EncodedText:
        """At most 100,000 training sentences, drawn by the seed."""
        return self.vocabulary.encode(random_subset(self.train or [], MAX_TRAIN_SENTENCES, self.seed))

    @cached_property
    def word_ids(self) -> Ints:
        """The vocabulary of every language model: the token ids of the references, sorted."""
        return np.unique(self.encoded.ids)

    @cached_property
    def language_model(self) -> KneserNey:
        """The language model of real text, fitted to the references, which no generator was trained on."""
        return kneser_ney.fit(self.encoded, self.word_ids)

    @cached_property
    def _embedded_refs(self) -> Floats:
        return self.embed_sentences(self.refs) if self.embed_sentences else np.zeros((0, 0))

    def embed(self, lines: Sequence[str], encoded: EncodedText) -> tuple[Floats, Floats]:
        """Embed sentences and the references; (N, D), (R, D)."""
        if self.embed_sentences is None:
            return LSA(self.encoded, seed=self.seed)(encoded)
        return self.embed_sentences(lines), self._embedded_refs


def build_references(
    refs: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    seed: int = 0,
    embeddings: Path | None = None,
    encoder: str | None = None,
    functions: Sequence[SentenceFunction] = (),
) -> References:
    """Choose the tokenisation and the sentence encoder, and leave blank references out.

    UserError for an unknown name, a file that holds no word vectors, or if no reference is left.
    """
    check(protocol, tokenisation)
    kept = [line for line in refs if line.strip()]
    if not kept:
        raise UserError(
            "no reference to score against: every line is blank or there is none; give at least one"
        )
    chosen = get_protocol(protocol)
    if tokenisation == AUTO:
        tokenisation = chosen.unspaced if is_unspaced(kept) else chosen.spaced
    description, encode = choose_encoder(embeddings, encoder, tokeniser(tokenisation))
    return References(chosen, tokenisation, kept, train or None, seed, description, encode, functions)


def random_subset(lines: Sequence[str], n: int, seed: int) -> list[str]:
    """Draw n lines without replacement, in their original order; all lines if there are no more than n."""
    if n >= len(lines):
        return list(lines)
    chosen = np.random.default_rng(seed).choice(len(lines), size=n, replace=False)
    return [lines[int(i)] for i in np.sort(chosen)]
