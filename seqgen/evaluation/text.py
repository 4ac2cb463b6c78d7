"""All scores of sets of sentences, with those of real text and of an n-gram baseline, and the protocol.

| key               | meaning                                                                                |
|-------------------|----------------------------------------------------------------------------------------|
| `bleu`            | mean BLEU-n of the sentences against all references; "2" … "5"                         |
| `self_bleu`       | mean BLEU-n of each sentence against all others; lower is more diverse                 |
| `sacrebleu`       | `score` (0 to 100) and `signature` of sacrebleu's corpus BLEU, all references          |
| `distinct`        | distinct n-grams over all n-grams of the whole set; "1" … "4"                          |
| `entropy`         | of the n-gram frequencies, nats; "1" … "4"                                             |
| `unique`          | fraction of distinct sentences                                                         |
| `zipf`            | Zipf's exponent (`seqgen.metrics.set_metrics.zipf`)                                    |
| `coverage`        | fraction of the references' words that the sentences use                               |
| `vocabulary`      | number of distinct tokens                                                              |
| `repeated`        | the five most frequent sentences that occur at least twice, with their counts          |
| `lengths`         | tokens per sentence: `mean`, `sd`, `min`, `max`, quantiles                             |
| `novel`           | fraction of sentences that are not in the training set, ignoring case and white space  |
| `copies`          | number of sentences that are in the training set                                       |
| `copying`         | longest common substring with a training sentence, tokens: `longest_mean`,             |
|                   | `longest_max`; `overlap`: fraction of sentences that overlap too much (markovify)      |
| `jsd`             | Jensen–Shannon divergence of n-gram frequencies from the references', nats; "2" … "5"  |
| `ms_jaccard`      | MS-Jaccard-n (Alihosseini et al. 2019), 1 for equal counts; "2" … "5"                  |
| `length_distance` | 1-Wasserstein distance of the lengths from the references', tokens                     |
| `frechet`         | Fréchet distance of sentence embeddings from the references'                           |
| `mauve`           | area under the divergence frontier of the embeddings' clusters, 1 for equal texts      |
| `lm`              | nats per token (Caccia et al. 2020): `score` of the sentences under a model of the     |
|                   | references, `reverse` of the references under one of the sentences; `perplexity`,      |
|                   | `reverse_perplexity`; `unknown`: tokens of the sentences that are in no reference      |
| `classifier`      | classifier two-sample test against references: `accuracy`, `chance` 0.5, and `tested`, |
|                   | the number of test sentences                                                           |
| `functions`       | mean of each of the user's functions of sentences, by name                             |
| `intervals`       | 95 % intervals, [low, high], under the same keys (`seqgen.metrics.confidence`)         |
| `nll_test`        | nats per token (with EOS, without padding) of the test split under the model, or null  |
| `nll_gen`         | nats per token of the samples under the model itself, at temperature 1, or null        |
| `likelihood`      | `test`, `gen`: every field of `Likelihood`; `samples`: importance samples, if estimated|
| `latent`          | metrics of a run with latents (`seqgen.evaluation.latent`), else null                  |
| `residual`        | what an energy gains on its generator (`seqgen.evaluation.residual`), else null        |
| `labels`,         | of a run whose sentences are given labels or sources: how well samples keep to them    |
| `sources`         | (`seqgen.evaluation.conditional`)                                                      |
| `grammar`         | on a built-in corpus: the results of `grammar_scores` and, where the density of what   |
|                   | is drawn is known, of `grammar_divergences`                                            |
| `oracle`          | on the corpus of an oracle: the result of `oracle_scores`                              |
| `real`            | the same scores of as many training sentences; its copying is that of the references   |
| `baseline`        | the same scores of as many samples of a Kneser–Ney model of the training sentences     |
| `reference_halves`| without training sentences: distances between two halves of the references             |
| `rows`            | with several sets of sentences: all scores of each, with its `name`                    |
| `protocol`        | everything that the scores depend on                                                   |

A metric of n-grams is null where there is no n-gram of its order: `distinct` and `entropy` where the
sentences have none, `jsd` and `ms_jaccard` where neither the sentences nor the references have.

The scores of the first set are at the top level. `nll_gen` estimates the entropy of the model if the samples
were drawn at temperature 1. Published tables use that name for the likelihood of training text, often
averaged over padding: do not compare with them. `self_bleu`, `distinct`, `jsd`, `ms_jaccard`, `coverage`,
`frechet`, `mauve` and `lm` depend on N, so every row has the same N.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen.core.errors import UserError
from seqgen.evaluation import scores
from seqgen.evaluation.known_distribution import (
    GrammarOracle,
    LikelihoodMetrics,
    grammar_divergences,
    grammar_scores,
    valid_fraction,
)
from seqgen.evaluation.references import References, build_references, random_subset
from seqgen.evaluation.scores import MetricsRow, Results
from seqgen.metrics.confidence import GROUPS, RESAMPLES
from seqgen.metrics.tokenization import AUTO
from seqgen.ngrams import kneser_ney, ngram_sampler

INTERVALS = f"means: bootstrap, {RESAMPLES:,} resamples of sentences; sets: jackknife, {GROUPS} groups"


@dataclass(frozen=True)
class SentenceSet:
    """A set of sentences to score, and the metrics that need the model that generated it."""

    name: str
    lines: Sequence[str] = field(repr=False)
    nll_test: LikelihoodMetrics | None = None
    nll_gen: LikelihoodMetrics | None = None
    latent: Mapping[str, Any] | None = None
    residual: Mapping[str, Any] | None = None
    sources: Mapping[str, Any] | None = None
    labels: Sequence[str] = field(default=(), repr=False)
    """What each line was given, of a run with labels."""
    log_density: Callable[[Sequence[str]], torch.Tensor] | None = None
    """log of the density that `lines` were drawn from, of sentences, where it is known; (N,), nats."""


def evaluate(
    hyps: Sequence[str],
    refs: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
    nll_test: LikelihoodMetrics | None = None,
    nll_gen: LikelihoodMetrics | None = None,
    grammar: GrammarOracle | None = None,
    embeddings: Path | None = None,
    encoder: str | None = None,
) -> Results:
    """Score sentences against references; the keys are those of the module's table.

    `train` are the training sentences of the generator of `hyps`; `novel`, `copies`, `copying`, `real` and
    `baseline` need them. Blank hypotheses are kept and score 0; blank references are left out. `protocol` is
    a name (`seqgen.metrics.protocols`); `provenance` is added to the protocol of the results (temperature,
    file names). UserError for an unknown name, fewer than two hypotheses or no reference.
    """
    _check(len(hyps))
    references = build_references(
        refs,
        train,
        protocol=protocol,
        tokenisation=tokenisation,
        seed=seed,
        embeddings=embeddings,
        encoder=encoder,
    )
    sets = [SentenceSet("sentences", hyps, nll_test, nll_gen)]
    return compare(sets, references, provenance=provenance, grammar=grammar)


def compare(
    sets: Sequence[SentenceSet],
    references: References,
    *,
    provenance: Mapping[str, Any] | None = None,
    grammar: GrammarOracle | None = None,
) -> Results:
    """Score sets of sentences, each truncated to the size of the smallest; see `evaluate`."""
    n = min(len(each.lines) for each in sets)
    _check(n)
    with _one_thread():
        return _compare(sets, n, references, provenance or {}, grammar)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: the matrices are so small that more threads mostly wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(
    sets: Sequence[SentenceSet],
    n: int,
    references: References,
    provenance: Mapping[str, Any],
    grammar: GrammarOracle | None,
) -> Results:
    # Real text first: token ids are given in the order of encoding, so its scores are equal to the last digit
    # whatever is scored after it.
    real_lines = random_subset(references.train or [], n, references.seed)
    real = _text_row(real_lines, references, grammar, is_real=True) if len(real_lines) > 1 else None
    comparisons = {
        "real": real,
        "baseline": _baseline_row(n, references, grammar),
        "reference_halves": None if references.train else _reference_halves(references),
    }
    rows = [_set_row(each, n, references, grammar) for each in sets]
    results: Results = {**rows[0], **comparisons}
    del results["name"]
    if len(rows) > 1:
        results["rows"] = rows
    blank = sum(not line.strip() for line in sets[0].lines[:n])
    results["protocol"] = _protocol(n, blank, references) | dict(provenance)
    results["protocol"]["real_n"] = len(real_lines) if real else None
    return results


def _check(n: int) -> None:
    if n < 2:
        raise UserError(f"{n} sentence to score: self-BLEU compares sentences, give at least 2")


def _set_row(
    sentences: SentenceSet, n: int, references: References, grammar: GrammarOracle | None
) -> Results:
    lines, test, gen = sentences.lines[:n], sentences.nll_test, sentences.nll_gen
    row: Results = {"name": sentences.name, **scores.score_row(lines, references)}
    row["nll_test"], row["nll_gen"] = test and test.nats_per_token, gen and gen.nats_per_token
    for key, likelihood in (("nll_test", test), ("nll_gen", gen)):
        if likelihood and likelihood.interval:
            row["intervals"][key] = list(likelihood.interval)
    row["likelihood"] = {"test": test and test.as_dict(), "gen": gen and gen.as_dict()}
    row["latent"], row["residual"] = sentences.latent, sentences.residual
    if sentences.sources is not None:
        row["sources"] = dict(sentences.sources)
    if grammar:
        row["grammar"] = grammar_scores(lines, references.refs, grammar, test)
        if sentences.log_density is not None:
            row["grammar"] |= grammar_divergences(lines, references.refs, grammar, sentences.log_density)
    return row


def _text_row(
    lines: Sequence[str], references: References, grammar: GrammarOracle | None, *, is_real: bool = False
) -> Results:
    row = scores.score_row(lines, references, is_real=is_real)
    if grammar:
        row["grammar"] = {"valid": valid_fraction(lines, grammar)}
    return row


def _baseline_row(n: int, references: References, grammar: GrammarOracle | None) -> Results | None:
    if not references.train:
        return None
    characters = references.tokenisation == "character"
    lines = ngram_sampler.baseline_sample(references.train, n, seed=references.seed, characters=characters)
    return _text_row(lines, references, grammar)


def _reference_halves(references: References) -> Results | None:
    """Distances between two random halves of the references: what real text scores against real text."""
    order = np.random.default_rng(references.seed).permutation(len(references.refs))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    if len(halves[0]) < 2:
        return None
    lines, others = ([references.refs[i] for i in half] for half in halves)
    other_half = replace(references, refs=others)
    encoded = other_half.vocabulary.encode(lines)
    row = MetricsRow()
    scores.add_ngram_metrics(row, encoded, other_half)
    scores.add_distances(row, lines, encoded, other_half)
    scores.add_classifier(row, encoded, other_half)
    return row.as_dict() | {"n": len(lines)}


def _protocol(n: int, blank: int, references: References) -> Results:
    train = len(references.train) if references.train else None
    return {
        "name": references.protocol.name,
        "n": n,
        "blank": blank,
        "references": len(references.refs),
        "train": train,
        "tokenisation": references.tokenisation,
        "case": "kept",
        "bleu": references.protocol.bleu,
        "smoothing": references.protocol.smoothing,
        "self_bleu": "leave-one-out",
        "encoder": references.encoder,
        "language_model": f"Kneser–Ney, order {kneser_ney.ORDER}, {len(references.word_ids):,} words",
        "baseline": f"Kneser–Ney, order {ngram_sampler.ORDER}" if train else None,
        "intervals": INTERVALS,
        "temperature": None,
        "seed": references.seed,
    }
