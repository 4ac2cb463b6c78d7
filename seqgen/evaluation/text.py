"""All scores of sets of sentences beside real text and an n-gram baseline, and the protocol they depend on.

| key               | meaning                                                                                |
|-------------------|----------------------------------------------------------------------------------------|
| `bleu`            | mean BLEU-n of the sentences against all references; "2" … "5"                         |
| `self_bleu`       | mean BLEU-n of each sentence against all the others; lower is more varied              |
| `sacrebleu`       | `score` (0 to 100) and `signature` of sacrebleu's corpus BLEU, all references          |
| `distinct`        | different n-grams over all n-grams of the whole set; "1" … "4"                         |
| `entropy`         | of the n-gram frequencies, nats; "1" … "4"                                             |
| `unique`          | share of different sentences                                                           |
| `zipf`            | Zipf's exponent (`seqgen.metrics.set_metrics.zipf`)                                           |
| `coverage`        | share of the references' words that the sentences use                                  |
| `vocabulary`      | number of different tokens                                                             |
| `repeated`        | the five sentences that stand most often, with their counts, two at least              |
| `lengths`         | tokens a sentence: `mean`, `sd`, `min`, `max`, quantiles                               |
| `novel`           | share of sentences that do not stand in the training set, spacing and case aside       |
| `copies`          | number of those that do                                                                |
| `copying`         | longest run shared with a training sentence, tokens: `longest_mean`, `longest_max`;    |
|                   | `overlap`: share of sentences that overlap too much by markovify's rule                |
| `jsd`             | Jensen–Shannon divergence of n-gram frequencies from the references', nats; "2" … "5"  |
| `ms_jaccard`      | MS-Jaccard-n (Alihosseini et al. 2019), 1 where the same; "2" … "5"                    |
| `length_distance` | 1-Wasserstein distance of the lengths from the references', tokens                     |
| `frechet`         | Fréchet distance of sentence embeddings from the references'                           |
| `lm`              | nats a token (Caccia et al. 2020): `score` of the sentences under a model of the       |
|                   | references, `reverse` of the references under one of the sentences; `perplexity`,      |
|                   | `reverse_perplexity`; `unknown`: tokens of the sentences that no reference holds       |
| `classifier`      | `accuracy` of telling the sentences from references, `chance` 0.5                      |
| `intervals`       | 95 % intervals, [low, high], under the same keys (`seqgen.metrics.confidence`)        |
| `nll_test`        | nats a token (EOS counts, padding does not) of the test split under the model, or null |
| `nll_gen`         | nats a token of the samples under the model that drew them, at temperature 1, or null  |
| `likelihood`      | for `test` and `gen`: every figure of `Likelihood`; `samples` by which it is estimated |
| `latent`          | of a run with codes: what `seqgen.evaluation.latent` says, else null                      |
| `grammar`         | on a built-in corpus: what `grammar_scores` says                                       |
| `real`            | the same scores of as many training sentences; its copying is that of the references   |
| `baseline`        | the same of as many draws of a Kneser–Ney model of the training sentences              |
| `floor`           | without training sentences: distances between two halves of the references             |
| `rows`            | with several sets of sentences: all scores of each, under its `name`                   |
| `protocol`        | everything those figures depend on                                                     |

The first set's own scores stand at the top. `nll_gen` estimates the model's entropy when the samples were
drawn at temperature 1. Tables in the literature give that name to the likelihood of training text instead,
often averaged over padding: they do not compare. Of `self_bleu`, `distinct`, `jsd`, `ms_jaccard`, `coverage`,
`frechet` and `lm` only figures of the same N compare, so every row has the same N.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen.core.errors import UserError
from seqgen.evaluation import scores
from seqgen.evaluation.known_distribution import Figures, GrammarOracle, grammar_scores, valid_share
from seqgen.evaluation.references import Yardstick, real_sample, yardstick
from seqgen.evaluation.scores import Report, Sheet
from seqgen.metrics.confidence import GROUPS, RESAMPLES
from seqgen.metrics.tokenization import AUTO
from seqgen.ngrams import kneser_ney, ngram_sampler

INTERVALS = f"means: bootstrap, {RESAMPLES:,} resamples of sentences; sets: jackknife, {GROUPS} groups"


@dataclass(frozen=True)
class Subject:
    """A set of sentences to be scored, and what only its source knows of it."""

    name: str
    lines: Sequence[str] = field(repr=False)
    nll_test: Figures | None = None
    nll_gen: Figures | None = None
    latent: Mapping[str, Any] | None = None


def evaluate(
    hyps: Sequence[str],
    refs: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    seed: int = 0,
    stated: Mapping[str, Any] | None = None,
    nll_test: Figures | None = None,
    nll_gen: Figures | None = None,
    grammar: GrammarOracle | None = None,
    embeddings: Path | None = None,
    encoder: str | None = None,
) -> Report:
    """Score sentences against references and beside real text; the keys are those of the module's table.

    `train` are the sentences that the writer of `hyps` learned from: they give `novel`, `copies`, `copying`,
    `real` and `baseline`. Blank hypotheses stay and score 0; blank references are left out. `protocol` is a
    name (`seqgen.metrics.protocols`), `stated` adds to the report's what only the caller knows (temperature,
    file names). UserError at an unknown name, fewer than two hypotheses or no reference.
    """
    _check(len(hyps))
    against = yardstick(
        refs,
        train,
        protocol=protocol,
        tokenisation=tokenisation,
        seed=seed,
        embeddings=embeddings,
        encoder=encoder,
    )
    return compare([Subject("sentences", hyps, nll_test, nll_gen)], against, stated=stated, grammar=grammar)


def compare(
    subjects: Sequence[Subject],
    against: Yardstick,
    *,
    stated: Mapping[str, Any] | None = None,
    grammar: GrammarOracle | None = None,
) -> Report:
    """Score sets of sentences, each cut to the size of the smallest; see `evaluate` and `Subject`."""
    n = min(len(subject.lines) for subject in subjects)
    _check(n)
    with _one_thread():
        return _compare(subjects, n, against, stated or {}, grammar)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: the products here are so small that threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(
    subjects: Sequence[Subject],
    n: int,
    against: Yardstick,
    stated: Mapping[str, Any],
    grammar: GrammarOracle | None,
) -> Report:
    # Real text first: its figures do not change in the last digit with the sentences that stand beside it.
    real_lines = real_sample(against.train or [], n, against.seed)
    real = _text_row(real_lines, against, grammar, is_real=True) if len(real_lines) > 1 else None
    beside = {
        "real": real,
        "baseline": _baseline_row(n, against, grammar),
        "floor": None if against.train else _floor(against),
    }
    scored = [_subject_row(subject, n, against, grammar) for subject in subjects]
    report: Report = {**scored[0], **beside}
    del report["name"]
    if len(scored) > 1:
        report["rows"] = scored
    blank = sum(not line.strip() for line in subjects[0].lines[:n])
    report["protocol"] = _protocol(n, blank, against) | dict(stated)
    report["protocol"]["real_n"] = len(real_lines) if real else None
    return report


def _check(n: int) -> None:
    if n < 2:
        raise UserError(f"{n} sentence to score: self-BLEU compares sentences, give at least 2")


def _subject_row(subject: Subject, n: int, against: Yardstick, grammar: GrammarOracle | None) -> Report:
    lines, test, gen = subject.lines[:n], subject.nll_test, subject.nll_gen
    row: Report = {"name": subject.name, **scores.score_row(lines, against)}
    row["nll_test"], row["nll_gen"] = test and test.nats_per_token, gen and gen.nats_per_token
    for key, found in (("nll_test", test), ("nll_gen", gen)):
        if found and found.interval:
            row["intervals"][key] = list(found.interval)
    row["likelihood"] = {"test": test and test.as_dict(), "gen": gen and gen.as_dict()}
    row["latent"] = subject.latent
    if grammar:
        row["grammar"] = grammar_scores(lines, against.refs, grammar, test)
    return row


def _text_row(
    lines: Sequence[str], against: Yardstick, grammar: GrammarOracle | None, *, is_real: bool = False
) -> Report:
    row = scores.score_row(lines, against, is_real=is_real)
    if grammar:
        row["grammar"] = {"valid": valid_share(lines, grammar)}
    return row


def _baseline_row(n: int, against: Yardstick, grammar: GrammarOracle | None) -> Report | None:
    if not against.train:
        return None
    characters = against.tokenisation == "character"
    lines = ngram_sampler.baseline_sample(against.train, n, seed=against.seed, characters=characters)
    return _text_row(lines, against, grammar)


def _floor(against: Yardstick) -> Report | None:
    """Distances of one half of the references, drawn by the seed, from the other: real text's own."""
    order = np.random.default_rng(against.seed).permutation(len(against.refs))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    if len(halves[0]) < 2:
        return None
    lines, others = ([against.refs[i] for i in half] for half in halves)
    other = replace(against, refs=others)
    coded = other.coder(lines)
    sheet = Sheet()
    scores.gram_distances(sheet, coded, other)
    scores.distances(sheet, lines, coded, other)
    scores.verdict(sheet, coded, other)
    return sheet.report() | {"n": len(lines)}


def _protocol(n: int, blank: int, against: Yardstick) -> Report:
    train = len(against.train) if against.train else None
    return {
        "name": against.protocol.name,
        "n": n,
        "blank": blank,
        "references": len(against.refs),
        "train": train,
        "tokenisation": against.tokenisation,
        "case": "kept",
        "bleu": against.protocol.bleu,
        "smoothing": against.protocol.smoothing,
        "self_bleu": "leave-one-out",
        "encoder": against.encoder,
        "language_model": f"Kneser–Ney, order {kneser_ney.ORDER}, {len(against.known):,} words",
        "baseline": f"Kneser–Ney, order {ngram_sampler.ORDER}" if train else None,
        "intervals": INTERVALS,
        "temperature": None,
        "seed": against.seed,
    }
