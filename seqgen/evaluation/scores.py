"""One row of an evaluation: every score of sentences that needs no trained run, with its interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqgen.evaluation.references import Yardstick
from seqgen.metrics import copying, diversity, set_metrics
from seqgen.metrics.bleu import bleu_of
from seqgen.metrics.classifier import CHANCE, tell_apart
from seqgen.metrics.confidence import Bootstrap, Interval, groups, jackknife, percentiles
from seqgen.metrics.corpus_bleu import corpus_counts, corpus_score, signature
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.ngrams import Coded, Floats

Report = dict[str, Any]
SINGLE = ("zipf", "coverage", "vocabulary")
"""Figures of words alone."""


class Sheet:
    """Collects figures under keys with dots, and their intervals beside them under the same keys."""

    def __init__(self) -> None:
        self.figures: Report = {}
        self.intervals: Report = {}

    def put(self, key: str, value: Any, interval: Interval | None = None) -> None:
        _nest(self.figures, key, value)
        if interval is not None:
            _nest(self.intervals, key, list(interval))

    def put_set(self, key: str, values: Floats) -> None:
        """A figure of a set, as `sets` returns it: (1 + J,)."""
        self.put(key, float(values[0]), jackknife(values) if len(values) > 1 else None)

    def report(self) -> Report:
        return self.figures | {"intervals": self.intervals}


def _nest(tree: Report, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = value


def score_row(lines: Sequence[str], against: Yardstick, *, is_real: bool = False) -> Report:
    """Score sentences: the keys of `seqgen.evaluation.text`, and `intervals` under the same keys.

    `is_real` marks training sentences: what they share with the training text is that of the references.
    """
    sheet = Sheet()
    coded = against.coder(lines)
    draws = Bootstrap(len(lines), against.seed)
    likeness(sheet, lines, coded, against, draws)
    variety(sheet, lines, coded, against)
    _copies(sheet, lines, coded, against, draws, is_real)
    distances(sheet, lines, coded, against)
    language_models(sheet, coded, against, draws)
    verdict(sheet, coded, against)
    return sheet.report()


def likeness(sheet: Sheet, lines: Sequence[str], coded: Coded, against: Yardstick, draws: Bootstrap) -> None:
    """`bleu` and `sacrebleu`, the bootstrap over sentences with the references as they are."""
    found = bleu_of(coded, against.coded, combine=against.protocol.combine)
    intervals = draws.means({str(n): values for n, values in found.items()})
    for n, values in found.items():
        sheet.put(f"bleu.{n}", float(values.mean()), intervals[str(n)])
    theirs = coded if against.sacrebleu_coder is against.coder else against.sacrebleu_coder(lines)
    counts = corpus_counts(theirs, against.sacrebleu_coded)
    resampled = np.rint(draws.sums(counts.T))
    scores = np.array([corpus_score(row).score for row in resampled])
    sheet.put("sacrebleu.score", corpus_score(counts.sum(axis=1)).score, percentiles(scores))
    sheet.put("sacrebleu.signature", signature(len(against.refs), against.sacrebleu_tokenizer))


def variety(sheet: Sheet, lines: Sequence[str], coded: Coded, against: Yardstick) -> None:
    """`self_bleu`, `unique`, `repeated`, `lengths`, and by `gram_distances` what n-gram counts give."""
    parts = groups(len(coded), against.seed)
    for n, values in set_metrics.self_bleu(coded, parts, against.protocol.combine).items():
        sheet.put_set(f"self_bleu.{n}", values)
    gram_distances(sheet, coded, against)
    numbers: dict[str, int] = {}
    sentence = np.array([numbers.setdefault(" ".join(line.split()), len(numbers)) for line in lines])
    sheet.put_set("unique", set_metrics.unique_share(sentence, parts))
    repeated = diversity.most_repeated(lines)
    sheet.put("repeated", [{"sentence": line, "count": count} for line, count in repeated])
    sheet.put("lengths", diversity.length_statistics(coded))


def gram_distances(sheet: Sheet, coded: Coded, against: Yardstick) -> None:
    """`distinct`, `entropy`, `zipf`, `coverage`, `vocabulary`, `jsd`, `ms_jaccard`."""
    parts = groups(len(coded), against.seed)
    for name, orders in set_metrics.gram_figures(coded, against.coded, parts).items():
        for n, values in orders.items():
            sheet.put_set(name if name in SINGLE else f"{name}.{n}", values)
    sheet.put("vocabulary", int(sheet.figures["vocabulary"]))


def _copies(
    sheet: Sheet, lines: Sequence[str], coded: Coded, against: Yardstick, draws: Bootstrap, is_real: bool
) -> None:
    """`novel`, `copies` and `copying`, null without training sentences."""
    if against.train is None:
        for key in ("novel", "copies", "copying"):
            sheet.put(key, None)
        return
    if is_real:
        rows = np.sort(np.random.default_rng(against.seed).permutation(len(against.refs))[: len(lines)])
        lines, coded = [against.refs[i] for i in rows], against.coded.take(rows)
        draws = Bootstrap(len(lines), against.seed)
    copied = np.array(diversity.copied(lines, against.train), float)
    longest = copying.longest_shared(coded, against.train_coded)
    overlap = copying.overlaps(longest, coded.lengths)
    scores = {
        "novel": 1 - copied,
        "copying.longest_mean": longest.astype(float),
        "copying.overlap": overlap * 1.0,
    }
    for key, interval in draws.means(scores).items():
        sheet.put(key, float(scores[key].mean()), interval)
    sheet.put("copying.longest_max", int(longest.max()))
    sheet.put("copies", int(copied.sum()))


def distances(sheet: Sheet, lines: Sequence[str], coded: Coded, against: Yardstick) -> None:
    """`length_distance` and `frechet`."""
    parts = groups(len(coded), against.seed)
    sheet.put_set("length_distance", set_metrics.length_distance(coded.lengths, against.coded.lengths, parts))
    ours, theirs = against.embed(lines, coded)
    sheet.put_set("frechet", set_metrics.frechet_distance(ours, theirs, parts))


def language_models(sheet: Sheet, coded: Coded, against: Yardstick, draws: Bootstrap) -> None:
    """`lm`: the sentences under the references' model, and the references under the sentences'."""
    back = Bootstrap(len(against.refs), against.seed)
    reverse = kneser_ney.fit(coded, against.known)
    for key, model, text, drawn in (
        ("score", against.real_model, coded, draws),
        ("reverse", reverse, against.coded, back),
    ):
        nats, tokens = model.nats(text), text.lengths + 1
        score = float(nats.sum() / tokens.sum())
        interval = drawn.ratio(nats, tokens.astype(float))
        sheet.put(f"lm.{key}", score, interval)
        perplexity = "perplexity" if key == "score" else "reverse_perplexity"
        sheet.put(f"lm.{perplexity}", float(np.exp(score)), tuple(np.exp(interval).tolist()))
    sheet.put("lm.unknown", against.real_model.unknown(coded))


def verdict(sheet: Sheet, coded: Coded, against: Yardstick) -> None:
    """`classifier`, null for fewer than 20 sentences on either side."""
    found = tell_apart(coded, against.coded, seed=against.seed)
    if found is None:
        sheet.put("classifier", None)
        return
    sheet.put("classifier.accuracy", found.accuracy, found.interval)
    sheet.put("classifier.chance", CHANCE)
    sheet.put("classifier.tested", found.tested)
