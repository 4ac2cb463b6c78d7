"""One row of an evaluation: all scores of a set of sentences that need no trained run, with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqgen.evaluation.references import References
from seqgen.metrics import copying, diversity, mauve, set_metrics
from seqgen.metrics.bleu import bleu_of_encoded
from seqgen.metrics.classifier import CHANCE, classifier_two_sample_test
from seqgen.metrics.confidence import (
    Bootstrap,
    Interval,
    jackknife_groups,
    jackknife_interval,
    percentile_interval,
)
from seqgen.metrics.corpus_bleu import corpus_counts, corpus_score, signature
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.ngrams import EncodedText, Floats

Results = dict[str, Any]
RATE = (0.0, 1.0)
BOUNDS = {
    **dict.fromkeys(("self_bleu", "distinct", "unique", "coverage", "ms_jaccard", "mauve"), RATE),
    "jsd": (0.0, math.log(2)),
    **dict.fromkeys(("entropy", "vocabulary", "length_distance", "frechet"), (0.0, math.inf)),
}
"""The least and the greatest value of metrics of a set: a jackknife interval is cut there."""
UNIGRAM_METRICS = ("zipf", "coverage", "vocabulary")
"""Metrics that only unigrams have: their keys have no order."""


class MetricsRow:
    """Collects metrics under dotted keys, and their intervals under the same keys."""

    def __init__(self) -> None:
        self.metrics: Results = {}
        self.intervals: Results = {}

    def add(self, key: str, value: Any, interval: Interval | None = None) -> None:
        _set_nested(self.metrics, key, value)
        if interval is not None:
            _set_nested(self.intervals, key, list(interval))

    def add_set_metric(self, key: str, values: Floats) -> None:
        """Add a metric of a whole set, as `set_metrics` returns it: (1 + J,); null in place of NaN.

        There is no interval where it is unknown without one of the groups.
        """
        value = None if np.isnan(values[0]) else float(values[0])
        has_interval = len(values) > 1 and not np.isnan(values).any()
        low, high = BOUNDS.get(key.split(".")[0], (-math.inf, math.inf))
        interval = jackknife_interval(values) if has_interval else None
        self.add(key, value, interval and (max(interval[0], low), min(interval[1], high)))

    def as_dict(self) -> Results:
        return self.metrics | {"intervals": self.intervals}


def _set_nested(tree: Results, dotted_key: str, value: Any) -> None:
    *path, last = dotted_key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = value


def score_row(lines: Sequence[str], references: References, *, is_real: bool = False) -> Results:
    """Score sentences: the keys of `seqgen.evaluation.text`, and `intervals` under the same keys.

    `is_real` says that the sentences are training sentences: the copying metrics are then those of the
    references, because a training sentence is always a copy of itself.
    """
    row = MetricsRow()
    encoded = references.vocabulary.encode(lines)
    bootstrap = Bootstrap(len(lines), references.seed)
    add_reference_similarity(row, lines, encoded, references, bootstrap)
    add_diversity(row, lines, encoded, references)
    _add_copying(row, lines, encoded, references, bootstrap, is_real)
    add_distances(row, lines, encoded, references)
    add_language_models(row, encoded, references, bootstrap)
    add_classifier(row, encoded, references)
    add_functions(row, lines, references, bootstrap)
    return row.as_dict()


def add_reference_similarity(
    row: MetricsRow, lines: Sequence[str], encoded: EncodedText, references: References, bootstrap: Bootstrap
) -> None:
    """Add `bleu` and `sacrebleu`; the bootstrap resamples the sentences and keeps the references."""
    bleus = bleu_of_encoded(encoded, references.encoded, combine=references.protocol.combine)
    intervals = bootstrap.means({str(n): values for n, values in bleus.items()})
    for n, values in bleus.items():
        row.add(f"bleu.{n}", float(values.mean()), intervals[str(n)])
    same = references.sacrebleu_vocabulary is references.vocabulary
    sacrebleu_encoded = encoded if same else references.sacrebleu_vocabulary.encode(lines)
    counts = corpus_counts(sacrebleu_encoded, references.sacrebleu_encoded)
    resampled = np.rint(bootstrap.sums(counts.T))
    scores = np.array([corpus_score(sums).score for sums in resampled])
    row.add("sacrebleu.score", corpus_score(counts.sum(axis=1)).score, percentile_interval(scores))
    row.add("sacrebleu.signature", signature(len(references.refs), references.sacrebleu_tokenizer))


def add_diversity(
    row: MetricsRow, lines: Sequence[str], encoded: EncodedText, references: References
) -> None:
    """Add `self_bleu`, `unique`, `repeated`, `lengths`, and the metrics of `add_ngram_metrics`."""
    groups = jackknife_groups(len(encoded), references.seed)
    for n, values in set_metrics.self_bleu(encoded, groups, references.protocol.combine).items():
        row.add_set_metric(f"self_bleu.{n}", values)
    add_ngram_metrics(row, encoded, references)
    numbers: dict[str, int] = {}
    sentence_ids = np.array([numbers.setdefault(" ".join(line.split()), len(numbers)) for line in lines])
    row.add_set_metric("unique", set_metrics.unique_fraction(sentence_ids, groups))
    repeated = diversity.most_repeated(lines)
    row.add("repeated", [{"sentence": line, "count": count} for line, count in repeated])
    row.add("lengths", diversity.length_statistics(encoded))


def add_ngram_metrics(row: MetricsRow, encoded: EncodedText, references: References) -> None:
    """Add `distinct`, `entropy`, `zipf`, `coverage`, `vocabulary`, `jsd`, `ms_jaccard`."""
    groups = jackknife_groups(len(encoded), references.seed)
    for name, orders in set_metrics.ngram_metrics(encoded, references.encoded, groups).items():
        for n, values in orders.items():
            row.add_set_metric(name if name in UNIGRAM_METRICS else f"{name}.{n}", values)
    row.add("vocabulary", int(row.metrics["vocabulary"]))


def _add_copying(
    row: MetricsRow,
    lines: Sequence[str],
    encoded: EncodedText,
    references: References,
    bootstrap: Bootstrap,
    is_real: bool,
) -> None:
    """Add `novel`, `copies` and `copying`, null without training sentences."""
    if references.train is None:
        for key in ("novel", "copies", "copying"):
            row.add(key, None)
        return
    if is_real:
        order = np.random.default_rng(references.seed).permutation(len(references.refs))
        chosen = np.sort(order[: len(lines)])
        lines, encoded = [references.refs[i] for i in chosen], references.encoded.take(chosen)
        bootstrap = Bootstrap(len(lines), references.seed)
    copied = np.array(diversity.copied(lines, references.train), float)
    longest = copying.longest_common_substring(encoded, references.encoded_train)
    overlap = copying.overlaps(longest, encoded.lengths)
    scores = {
        "novel": 1 - copied,
        "copying.longest_mean": longest.astype(float),
        "copying.overlap": overlap * 1.0,
    }
    for key, interval in bootstrap.means(scores).items():
        row.add(key, float(scores[key].mean()), interval)
    row.add("copying.longest_max", int(longest.max()))
    row.add("copies", int(copied.sum()))


def add_distances(
    row: MetricsRow, lines: Sequence[str], encoded: EncodedText, references: References
) -> None:
    """Add `length_distance`, `frechet` and `mauve`."""
    groups = jackknife_groups(len(encoded), references.seed)
    lengths = set_metrics.length_distance(encoded.lengths, references.encoded.lengths, groups)
    row.add_set_metric("length_distance", lengths)
    vectors, ref_vectors = references.embed(lines, encoded)
    row.add_set_metric("frechet", set_metrics.frechet_distance(vectors, ref_vectors, groups))
    row.add_set_metric("mauve", mauve.mauve(vectors, ref_vectors, groups, seed=references.seed))


def add_language_models(
    row: MetricsRow, encoded: EncodedText, references: References, bootstrap: Bootstrap
) -> None:
    """Add `lm`: the sentences under the references' model, and the references under the sentences' model."""
    ref_bootstrap = Bootstrap(len(references.refs), references.seed)
    reverse_model = kneser_ney.fit(encoded, references.word_ids)
    for key, model, text, resamples in (
        ("score", references.language_model, encoded, bootstrap),
        ("reverse", reverse_model, references.encoded, ref_bootstrap),
    ):
        nll, tokens = model.nll(text), text.lengths + 1
        score = float(nll.sum() / tokens.sum())
        interval = resamples.ratio(nll, tokens.astype(float))
        row.add(f"lm.{key}", score, interval)
        perplexity = "perplexity" if key == "score" else "reverse_perplexity"
        row.add(f"lm.{perplexity}", float(np.exp(score)), tuple(np.exp(interval).tolist()))
    row.add("lm.unknown", references.language_model.count_unknown(encoded))


def add_classifier(row: MetricsRow, encoded: EncodedText, references: References) -> None:
    """Add `classifier`, null for fewer than 20 sentences of either text."""
    result = classifier_two_sample_test(encoded, references.encoded, seed=references.seed)
    if result is None:
        row.add("classifier", None)
        return
    row.add("classifier.accuracy", result.accuracy, result.interval)
    row.add("classifier.chance", CHANCE)
    row.add("classifier.tested", result.tested)


def add_functions(
    row: MetricsRow, lines: Sequence[str], references: References, bootstrap: Bootstrap
) -> None:
    """Add the mean of each of the user's functions, under its name without the file."""
    if not references.functions:
        return
    values = {function.short: function(lines) for function in references.functions}
    row.add("functions", {name: float(each.mean()) for name, each in values.items()})
    row.intervals["functions"] = {name: list(each) for name, each in bootstrap.means(values).items()}
