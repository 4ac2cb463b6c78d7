"""The evaluation of trained runs: their samples, the likelihood of the test split, temperature sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.corpora import load as load_grammar
from seqgen.data.corpus import Corpus
from seqgen.data.token_ids import encode_lines
from seqgen.evaluation.conditional import LabelClassifier, answers_of_test, source_scores
from seqgen.evaluation.known_distribution import oracle_scores
from seqgen.evaluation.latent import latent_metrics
from seqgen.evaluation.quality_diversity import Point, measure
from seqgen.evaluation.references import References, build_references, random_subset
from seqgen.evaluation.residual import log_drawn, proposed_energies, residual_metrics
from seqgen.evaluation.scores import Results
from seqgen.evaluation.text import SentenceSet, compare
from seqgen.generation import oracles
from seqgen.generation.likelihood import Likelihood, bounded_batches, of_sentences, sentence_likelihood
from seqgen.inference.conditional import drawn_labels
from seqgen.inference.generate import generate
from seqgen.inference.latent_space import has_latents
from seqgen.inference.scoring import score
from seqgen.metrics.tokenization import AUTO
from seqgen.training.load import Trained, ids_of, over_sentences


@dataclass(frozen=True)
class Estimate:
    """How the likelihood of a latent-variable model is estimated; that of a whole split takes too long."""

    sentences: int = 1000
    """of the test split, drawn by the seed"""
    samples: int = 500
    """importance samples of each; more give a tighter lower bound on the likelihood (Burda et al. 2016)"""


def evaluate_run(trained: Trained, **options: Any) -> Results:
    """Score n samples of a run against its corpus' test split; the options are those of `evaluate_runs`."""
    return evaluate_runs([trained], **options)


def evaluate_runs(
    runs: Sequence[Trained],
    *,
    n: int = 10_000,
    temperature: float = 1.0,
    temperatures: Sequence[float] = (),
    seed: int = 0,
    protocol: str = "seqgen",
    tokenisation: str = AUTO,
    embeddings: Path | None = None,
    encoder: str | None = None,
    functions: Sequence[SentenceFunction] = (),
    estimate: Estimate | None = None,
    label: str | None = None,
) -> Results:
    """Score n samples of each run against the test split of their common corpus.

    `nll_test` is measured on the whole test split, without truncation; `nll_gen` on the samples, at
    temperature 1. A latent-variable model has an estimated `nll_test` (`estimate`) and the metrics `latent`,
    but no `nll_gen`, which would take as long to estimate. With `temperatures` the results hold `sweep`, the
    points of the quality–diversity curve of each run. Where sentences are given labels or sources, there are
    the metrics of `seqgen.evaluation.conditional`; with `label` samples, references and training sentences
    are those of this label.

    UserError if a corpus has changed, the runs have different corpora, or there is no test sentence.
    """
    corpus = _same_corpus(runs)
    if label is not None:
        corpus = _of_label(runs, corpus, label)
        runs = [_with_corpus(trained, corpus) for trained in runs]
    references = build_references(
        corpus.test,
        corpus.train,
        protocol=protocol,
        tokenisation=tokenisation,
        seed=seed,
        embeddings=embeddings,
        encoder=encoder,
        functions=functions,
    )
    sets = [
        _sample_set(trained, n, temperature, seed, estimate or Estimate(), references.tokenisation, label)
        for trained in runs
    ]
    names = [each.name for each in sets]
    results = compare(
        sets,
        references,
        provenance={
            "hypotheses_from": names[0] if len(names) == 1 else names,
            "references_from": f"test split of {corpus.name}",
            "train_from": corpus.name,
            "corpus_hash": corpus.hash,
            "temperature": temperature,
        },
        grammar=load_grammar(corpus.grammar) if corpus.grammar else None,
    )
    if corpus.fixed_length:
        oracle = oracles.load(corpus.name)
        for row, each in zip(results.get("rows") or [results], sets, strict=True):
            row["oracle"] = oracle_scores(each.lines[: results["protocol"]["n"]], corpus.test, oracle)
    if label is None and corpus.train.conditioned and runs[0].tokenizer.labels:
        _add_label_scores(results, runs, corpus, sets, seed=seed)
    if temperatures:
        swept = [sweep(trained, temperatures, references, n=n, seed=seed) for trained in runs]
        results["sweep"] = [point for points in swept for point in points]
    return results


def _of_label(runs: Sequence[Trained], corpus: Corpus, label: str) -> Corpus:
    """Return what of a corpus has a label; UserError where the runs have no labels, or not this one."""
    for trained in runs:
        drawn_labels(trained, {label: 1.0})
    test, train = (
        lines.where(np.array([each == label for each in lines.conditions()], bool))
        for lines in (corpus.test, corpus.train)
    )
    if not len(test):
        raise UserError(f"no test sentence of corpus '{corpus.name}' has the label '{label}'")
    return replace(corpus, train=train, test=test)


def _with_corpus(trained: Trained, corpus: Corpus) -> Trained:
    other = replace(trained)
    other.__dict__["corpus"] = corpus  # in place of what would be opened
    return other


def _add_label_scores(
    results: Results, runs: Sequence[Trained], corpus: Corpus, sets: Sequence[SentenceSet], *, seed: int
) -> None:
    """Add how well samples, and real sentences of the test split, keep to their labels."""
    of_characters = runs[0].tokenizer.kind in ("character", "byte")
    classifier = LabelClassifier(corpus, seed=seed, of_characters=of_characters)
    rows = [results["real"], *(results.get("rows") or [results])]
    lines = [list(corpus.test), *(each.lines for each in sets)]
    labels = [corpus.test.conditions(), *(each.labels for each in sets)]
    for row, *of_row in zip(rows, lines, labels, strict=True):
        if row is not None:
            row["labels"], interval = classifier.scores(*of_row)
            row["intervals"]["labels"] = {"accuracy": interval}


def _same_corpus(runs: Sequence[Trained]) -> Corpus:
    first = runs[0]
    for other in runs[1:]:
        if other.corpus.hash != first.corpus.hash:
            raise UserError(
                f"runs '{first.run.path}' and '{other.run.path}' are of different corpora or splits, "
                f"{first.corpus.name} and {other.corpus.name}; evaluate them one by one"
            )
    if not len(first.corpus.test):
        raise UserError(
            f"corpus '{first.corpus.name}' has no test sentence; train with --test FILE, or compare samples "
            "with a file of real sentences by 'seqgen evaluate --hyp FILE --ref FILE'"
        )
    return first.corpus


def _sample_set(
    trained: Trained,
    n: int,
    temperature: float,
    seed: int,
    estimate: Estimate,
    tokenisation: str,
    label: str | None,
) -> SentenceSet:
    exact = trained.algorithm.likelihood == "exact"
    on_fake = proposed_energies(trained, seed=seed) if trained.algorithm.takes_candidates else None

    def log_density(lines: Sequence[str]) -> Tensor:
        log_likelihood = trained.algorithm.log_likelihood
        return over_sentences(
            trained,
            lines,
            log_likelihood if on_fake is None else lambda tokens: log_drawn(trained, tokens, on_fake),
        ).double()

    goes_on = trained.tokenizer.then is not None
    if goes_on:
        sentences = answers_of_test(trained, n, temperature=temperature, seed=seed, score=exact)
    else:
        labels = None if label is None else {label: 1.0}
        how: dict[str, Any] = {"temperature": temperature, "with_log_prob": exact, "labels": labels}
        sentences = list(generate(trained, n, seed=seed, **how))
    nll = [-each.log_prob for each in sentences if each.log_prob is not None]
    return SentenceSet(
        str(trained.run.path),
        [sentence.text for sentence in sentences],
        nll_test=likelihood_of_test(trained, seed=seed, estimate=estimate),
        nll_gen=of_sentences(nll, [each.tokens for each in sentences], seed=seed) if exact else None,
        latent=latent_metrics(trained, tokenisation=tokenisation, seed=seed)
        if has_latents(trained)
        else None,
        residual=None if on_fake is None else residual_metrics(trained, on_fake),
        sources=source_scores(trained, tokenisation=tokenisation, seed=seed) if goes_on else None,
        labels=[sentence.label or "" for sentence in sentences],
        log_density=log_density if exact and temperature == 1.0 else None,
    )


def likelihood_of_test(
    trained: Trained, *, seed: int | None = None, estimate: Estimate | None = None
) -> Likelihood | None:
    """Measure the likelihood of a run's test split, without truncation; None if the model has no likelihood.

    An exact likelihood is that of the whole split, an estimated one that of a random subset (`Estimate`).
    """
    algorithm, lines = trained.algorithm, trained.corpus.test
    if algorithm.likelihood == "exact":
        encoded = encode_lines(lines, trained.tokenizer, max_length=trained.run.config.get("fixed_length"))
        batches = (tokens.to(trained.device) for tokens in bounded_batches(encoded))
        counted = algorithm.of_sentence
        score_rows = partial(distributed.by_rows, algorithm.log_likelihood)
        return sentence_likelihood(score_rows, batches, counted=counted, seed=seed)
    if algorithm.likelihood is None:
        return None
    how = estimate or Estimate()
    subset = random_subset(lines.whole, how.sentences, seed or 0)
    scores = list(score(trained, subset, samples=how.samples, seed=seed or 0))
    nll = [-(each.log_prob or 0.0) for each in scores]
    tokens = [each.tokens for each in scores]
    likelihood = of_sentences(nll, tokens, unknown=ids_of(trained, subset).unknown, seed=seed)
    return replace(likelihood, samples=how.samples)


def sweep(
    trained: Trained, temperatures: Sequence[float], references: References, *, n: int = 10_000, seed: int = 0
) -> list[Point]:
    """Sample n sentences of a run at each temperature and measure quality and diversity."""
    points = []
    for temperature in temperatures:
        if trained.tokenizer.then is None:
            drawn = generate(trained, n, seed=seed, temperature=temperature)
        else:
            drawn = iter(answers_of_test(trained, n, temperature=temperature, seed=seed, score=False))
        lines = [sentence.text for sentence in drawn]
        points.append(measure(lines, references, name=str(trained.run.path), temperature=temperature))
    return points
