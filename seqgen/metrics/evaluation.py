"""All scores of a set of sentences beside those of real text, as one object that states its protocol.

| key          | meaning                                                                                |
|--------------|----------------------------------------------------------------------------------------|
| `bleu`       | mean BLEU-n of the sentences against all references (NLTK, method1); "2" … "5"         |
| `self_bleu`  | mean BLEU-n of each sentence against all the others; "2" … "5"; lower is more varied   |
| `sacrebleu`  | `score` (0 to 100) and `signature` of sacrebleu's corpus BLEU, all references for each |
| `nll_test`   | nats a token (EOS counts, padding does not) of the test split under the model, or null |
| `nll_gen`    | nats a token of the samples under the model that drew them, at temperature 1, or null  |
| `likelihood` | for `test` and `gen`: every figure of `Likelihood`                                     |
| `distinct`   | different n-grams over all n-grams of the whole set; "1" … "4"                         |
| `unique`     | share of different sentences                                                           |
| `novel`      | share of sentences that are no copies, or null without training sentences              |
| `copies`     | number of sentences that stand in the training set, regardless of case and spacing     |
| `lengths`    | tokens a sentence: `mean`, `sd`, `min`, `max`, quantiles                               |
| `vocabulary` | number of different tokens                                                             |
| `grammar`    | on a built-in corpus: what `grammar_scores` says                                       |
| `real`       | the text scores of as many training sentences: what real text reaches; or null         |
| `protocol`   | everything those figures depend on                                                     |

`nll_gen` estimates the model's entropy when the samples were drawn at temperature 1. Tables in the literature
give that name to the likelihood of training text instead, often averaged over padding: they do not compare.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from seqgen.errors import UserError
from seqgen.metrics import diversity
from seqgen.metrics.bleu import Scores, bleu_of, self_bleu_of
from seqgen.metrics.corpus_bleu import corpus_bleu_of, our_name, tokenizer_for
from seqgen.metrics.ngrams import Coded, code_sentences
from seqgen.metrics.tokenise import AUTO, automatic, tokeniser

Report = dict[str, Any]


class GrammarOracle(Protocol):
    """What a built-in corpus knows of its own language."""

    name: str

    def log_prob(self, sentence: str) -> float: ...

    def entropy(self) -> float: ...

    def valid(self, sentence: str) -> bool: ...


class Figures(Protocol):
    """A model's likelihood of some text (`seqgen.metrics.likelihood.Likelihood`)."""

    @property
    def nats_per_token(self) -> float: ...

    @property
    def nats_per_sentence(self) -> float: ...

    def as_dict(self) -> dict[str, float | None]: ...


@dataclass
class Coder:
    """Turns lines into token codes of one vocabulary, so that texts coded by it can be compared."""

    tokenisation: str
    vocabulary: dict[str, int] = field(default_factory=dict)

    def __call__(self, lines: Iterable[str]) -> Coded:
        return code_sentences(map(tokeniser(self.tokenisation), lines), self.vocabulary)


@dataclass
class References:
    """The reference sentences, coded once for all the texts that are scored against them."""

    coder: Coder
    coded: Coded
    sacrebleu_tokenizer: str
    sacrebleu_coder: Coder
    sacrebleu_coded: Coded


def references(refs: Sequence[str], tokenisation: str) -> References:
    """Code the references under a tokenisation and under sacrebleu's."""
    coder = Coder(tokenisation)
    coded = coder(refs)
    theirs = tokenizer_for(tokenisation)
    if our_name(theirs) == tokenisation:
        return References(coder, coded, theirs, coder, coded)
    sacrebleu_coder = Coder(our_name(theirs))
    return References(coder, coded, theirs, sacrebleu_coder, sacrebleu_coder(refs))


def evaluate(
    hyps: Sequence[str],
    refs: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    tokenisation: str = AUTO,
    seed: int = 0,
    protocol: Mapping[str, Any] | None = None,
    nll_test: Figures | None = None,
    nll_gen: Figures | None = None,
    grammar: GrammarOracle | None = None,
) -> Report:
    """Score sentences against references and beside real text; the keys are those of the module's table.

    `train` are the sentences that the writer of `hyps` learned from: they give `novel`, `copies` and `real`
    (as many of them as there are hypotheses, drawn by `seed`). Blank hypotheses stay and score 0; blank
    references are left out. `protocol` adds what only the caller knows (temperature, file names). UserError
    at an unknown tokenisation, fewer than two hypotheses or no reference.
    """
    kept = [line for line in refs if line.strip()]
    _check(hyps, kept, tokenisation)
    chosen = automatic(kept) if tokenisation == AUTO else tokenisation
    reference = references(kept, chosen)
    report: Report = {**text_scores(hyps, reference, train), "real": None}
    report["nll_test"] = nll_test and nll_test.nats_per_token
    report["nll_gen"] = nll_gen and nll_gen.nats_per_token
    report["likelihood"] = {"test": nll_test and nll_test.as_dict(), "gen": nll_gen and nll_gen.as_dict()}
    if grammar:
        report["grammar"] = grammar_scores(hyps, kept, grammar, nll_test)
    real = real_sample(train, len(hyps), seed) if train else []
    if len(real) > 1:
        report["real"] = text_scores(real, reference, None)
        if grammar:
            report["real"]["grammar"] = {"valid": _valid(real, grammar)}
    stated = {
        "n": len(hyps),
        "blank": sum(not line.strip() for line in hyps),
        "references": len(kept),
        "train": len(train) if train else None,
        "real_n": len(real) if len(real) > 1 else None,
        "tokenisation": chosen,
        "case": "kept",
        "smoothing": "method1",
        "self_bleu": "leave-one-out",
        "temperature": None,
        "seed": seed,
    }
    report["protocol"] = stated | dict(protocol or {})
    return report


def _check(hyps: Sequence[str], refs: Sequence[str], tokenisation: str) -> None:
    if tokenisation != AUTO:
        tokeniser(tokenisation)
    if not refs:
        raise UserError(
            "no reference to score against: every line is blank or there is none; give at least one"
        )
    if len(hyps) < 2:
        raise UserError(f"{len(hyps)} sentence to score: self-BLEU compares sentences, give at least 2")


def text_scores(lines: Sequence[str], reference: References, train: Iterable[str] | None) -> Report:
    """Score sentences by their words alone: every key of the table that needs no model."""
    coded = reference.coder(lines)
    if reference.sacrebleu_coder is reference.coder:
        sacrebleu_coded = coded
    else:
        sacrebleu_coded = reference.sacrebleu_coder(lines)
    corpus = corpus_bleu_of(sacrebleu_coded, reference.sacrebleu_coded, reference.sacrebleu_tokenizer)
    copied = None if train is None else diversity.copies(lines, train)
    return {
        "bleu": _means(bleu_of(coded, reference.coded)),
        "self_bleu": _means(self_bleu_of(coded)),
        "sacrebleu": {"score": corpus.score, "signature": corpus.signature},
        "distinct": {str(n): share for n, share in diversity.distinct(coded).items()},
        "unique": diversity.unique(lines),
        "novel": None if copied is None else 1 - copied / len(lines),
        "copies": copied,
        "lengths": diversity.length_statistics(coded),
        "vocabulary": diversity.vocabulary_size(coded),
    }


def _means(scores: Scores) -> dict[str, float]:
    return {str(n): float(values.mean()) for n, values in scores.items()}


def grammar_scores(
    lines: Sequence[str], test: Sequence[str], grammar: GrammarOracle, nll_test: Figures | None
) -> Report:
    """Judge samples, and the model's likelihood of the test split, by the grammar that made the corpus.

    `valid`: share of samples that the grammar derives; `nll`: nats a sentence of those under the grammar;
    `entropy` of the grammar, nats a sentence; `test_nll`: nats a test sentence under the grammar, the entropy
    as this test split estimates it; `ratio`: nats a test sentence under the model over the entropy.
    """
    valid = [line for line in lines if grammar.valid(line)]
    log_probs = [found for found in map(grammar.log_prob, valid) if np.isfinite(found)]
    test_nll = -float(np.mean([grammar.log_prob(line) for line in test]))
    entropy = grammar.entropy()
    return {
        "name": grammar.name,
        "valid": len(valid) / len(lines),
        "nll": -float(np.mean(log_probs)) if log_probs else None,
        "entropy": entropy,
        "test_nll": test_nll if np.isfinite(test_nll) else None,
        "ratio": nll_test and nll_test.nats_per_sentence / entropy,
    }


def _valid(lines: Sequence[str], grammar: GrammarOracle) -> float:
    return sum(map(grammar.valid, lines)) / len(lines)


def real_sample(train: Sequence[str], n: int, seed: int) -> list[str]:
    """Draw n training sentences without replacement, in their order; all of them where there are no more."""
    if n >= len(train):
        return list(train)
    chosen = np.random.default_rng(seed).choice(len(train), size=n, replace=False)
    return [train[int(i)] for i in np.sort(chosen)]
