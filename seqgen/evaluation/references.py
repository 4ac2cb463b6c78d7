"""What every row of an evaluation is held against: references, training text, the models of real text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from seqgen.core.errors import UserError
from seqgen.metrics.corpus_bleu import our_name, tokenizer_for
from seqgen.metrics.embeddings import LSA, Encode, choose_encoder
from seqgen.metrics.protocols import Protocol, check, named
from seqgen.metrics.tokenization import AUTO, Tokenise, is_unspaced, tokeniser
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.kneser_ney import KneserNey
from seqgen.ngrams.ngrams import Coded, Floats, Ints, code_sentences

REMEMBERED = 65_536
TRAIN = 100_000
"""Training sentences in which shared runs are looked for; exact copies are looked for in all."""


@dataclass
class Coder:
    """Turns lines into token codes of one vocabulary, so that texts coded by it can be compared."""

    tokenisation: str
    vocabulary: dict[str, int] = field(default_factory=dict)

    @cached_property
    def tokenise(self) -> Tokenise:
        """The tokeniser, which is slow, with a memory: lines come again, as training and as real text."""
        return lru_cache(maxsize=REMEMBERED)(tokeniser(self.tokenisation))

    def __call__(self, lines: Iterable[str]) -> Coded:
        return code_sentences(map(self.tokenise, lines), self.vocabulary)


@dataclass
class Yardstick:
    """References and training sentences; everything derived from them is computed once, when first used."""

    protocol: Protocol
    tokenisation: str
    refs: Sequence[str]
    train: Sequence[str] | None
    seed: int
    encoder: str
    encode: Encode | None
    """How sentences become vectors; None: `LSA` of the references."""

    @cached_property
    def coder(self) -> Coder:
        return Coder(self.tokenisation)

    @cached_property
    def coded(self) -> Coded:
        """The references under the protocol's tokenisation."""
        return self.coder(self.refs)

    @property
    def sacrebleu_tokenizer(self) -> str:
        return tokenizer_for(self.tokenisation)

    @cached_property
    def sacrebleu_coder(self) -> Coder:
        theirs = our_name(self.sacrebleu_tokenizer)
        return self.coder if theirs == self.tokenisation else Coder(theirs)

    @cached_property
    def sacrebleu_coded(self) -> Coded:
        same = self.sacrebleu_coder is self.coder
        return self.coded if same else self.sacrebleu_coder(self.refs)

    @cached_property
    def train_coded(self) -> Coded:
        """At most 100,000 training sentences, drawn by the seed."""
        return self.coder(real_sample(self.train or [], TRAIN, self.seed))

    @cached_property
    def known(self) -> Ints:
        """The vocabulary of every scoring model: the words of the references."""
        return np.unique(self.coded.codes)

    @cached_property
    def real_model(self) -> KneserNey:
        """The language model of real text: of the references, which no row has seen."""
        return kneser_ney.fit(self.coded, self.known)

    @cached_property
    def _encoded_refs(self) -> Floats:
        return self.encode(self.refs) if self.encode else np.zeros((0, 0))

    def embed(self, lines: Sequence[str], coded: Coded) -> tuple[Floats, Floats]:
        """Embed sentences and the references; (N, D), (R, D)."""
        if self.encode is None:
            return LSA(self.coded, seed=self.seed)(coded)
        return self.encode(lines), self._encoded_refs


def yardstick(
    refs: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    seed: int = 0,
    embeddings: Path | None = None,
    encoder: str | None = None,
) -> Yardstick:
    """Choose the tokenisation and the encoder, and leave blank references out.

    UserError at a wrong name, a file that holds no word vectors, or without any reference.
    """
    check(protocol, tokenisation)
    kept = [line for line in refs if line.strip()]
    if not kept:
        raise UserError(
            "no reference to score against: every line is blank or there is none; give at least one"
        )
    found = named(protocol)
    if tokenisation == AUTO:
        tokenisation = found.unspaced if is_unspaced(kept) else found.spaced
    name, encode = choose_encoder(embeddings, encoder, tokeniser(tokenisation))
    return Yardstick(found, tokenisation, kept, train or None, seed, name, encode)


def real_sample(train: Sequence[str], n: int, seed: int) -> list[str]:
    """Draw n training sentences without replacement, in their order; all of them where there are no more."""
    if n >= len(train):
        return list(train)
    chosen = np.random.default_rng(seed).choice(len(train), size=n, replace=False)
    return [train[int(i)] for i in np.sort(chosen)]
