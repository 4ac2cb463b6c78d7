"""What to look at on a page about text: what stands out in the numbers, and the section that shows it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.evaluation import quality_diversity
from seqgen.evaluation.quality_diversity import REAL
from seqgen.report.scores import ReportData, value_at

MUCH_COPYING, MUCH_REPETITION = 0.02, 0.02
"""Fractions more than of real text, of copies and of repeated sentences, from which on they are named."""
TOLD_APART = 0.75
"""Accuracy of the classifier from which on it is named; chance is .5."""
OTHER_LENGTH = 0.1
"""Difference of the mean lengths, as a fraction of that of real text, from which on it is named."""
LESS_LABELLED = 0.05
"""How much less often than in real text a label is found, from which on it is named."""
RISE = 0.02
"""Nats a token that the validation loss has risen again, from which on it is named."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What to look at, and in which section."""

    text: str
    anchor: str


def findings(data: ReportData, rows: Mapping[str, Row]) -> list[Finding]:
    """Return what stands out in the scores (of all texts, by label) and in the training of each run."""
    found: list[Finding | None] = []
    real = rows.get(REAL)
    for name, label, metrics in zip(data.names, data.labels, data.metrics, strict=True):
        if real is not None:
            found += [check(label, rows[label], real) for check in AGAINST_REAL_TEXT]
        found += [_collapse(label, rows[label]), _overfitting(label, metrics), _nearest(data, name, label)]
    return list(filter(None, found)) or [
        Finding("Nothing stands out in the numbers: read some samples.", "samples")
    ]


def _copies(label: str, row: Row, real: Row) -> Finding | None:
    novel, usual = row.get("novel"), real.get("novel")
    if novel is None or usual is None or usual - novel < MUCH_COPYING:
        return None
    text = f"{1 - novel:.0%} of the sentences of {label} are copies of training sentences"
    return Finding(f"{text}, {1 - usual:.0%} of held-out ones.", "samples")


def _repetition(label: str, row: Row, real: Row) -> Finding | None:
    if real["unique"] - row["unique"] < MUCH_REPETITION or not row.get("repeated"):
        return None
    most = row["repeated"][0]
    text = f"{label} repeats itself: {row['unique']:.0%} of its sentences are different, of real ones"
    most_frequent = f"most often, {most['count']:,} times: {_short(most['sentence'])}"
    return Finding(f"{text} {real['unique']:.0%}; {most_frequent}", "scores")


def _classifier(label: str, row: Row, real: Row) -> Finding | None:
    accuracy = value_at(row, ("classifier", "accuracy"))
    if accuracy is None or accuracy < TOLD_APART:
        return None
    text = f"A classifier of n-grams tells {label} from real text in {accuracy:.0%} of cases"
    return Finding(f"{text}: compare their n-grams.", "ngrams")


def _lengths(label: str, row: Row, real: Row) -> Finding | None:
    mean, usual = row["lengths"]["mean"], real["lengths"]["mean"]
    if abs(mean - usual) < OTHER_LENGTH * usual:
        return None
    word = "longer" if mean > usual else "shorter"
    text = f"Sentences of {label} are {word} than real ones: {mean:.1f} tokens against {usual:.1f}."
    return Finding(text, "lengths")


def _labels(label: str, row: Row, real: Row) -> Finding | None:
    accuracy, usual = (value_at(each, ("labels", "accuracy")) for each in (row, real))
    if accuracy is None or usual is None or usual - accuracy < LESS_LABELLED:
        return None
    text = f"A classifier finds in {accuracy:.0%} of the samples of {label} the label that they were given"
    return Finding(f"{text}, in {usual:.0%} of real sentences.", "samples")


AGAINST_REAL_TEXT: Sequence[Callable[[str, Row, Row], Finding | None]] = (
    _copies,
    _repetition,
    _classifier,
    _lengths,
    _labels,
)
"""Checks of a run's scores against those of real text."""


def _collapse(label: str, row: Row) -> Finding | None:
    latent = row.get("latent")
    if not latent or not latent["collapsed"]:
        return None
    return Finding(f"The latent of {label} carries no information (KL {latent['kl']:.3f} nats).", "latents")


def _overfitting(label: str, metrics: Sequence[Row]) -> Finding | None:
    """Point out a validation loss that has risen again since its least value."""
    values = [(row["step"], row["valid_nll"]) for row in metrics if "valid_nll" in row]
    if len(values) < 2:
        return None
    step, least = min(values, key=lambda each: each[1])
    rise = values[-1][1] - least
    if rise < RISE:
        return None
    text = f"{label} fits the validation split worse since step {step:,}, at last by {rise:.2f} nats a token"
    return Finding(f"{text}.", "training")


def _nearest(data: ReportData, name: str, label: str) -> Finding | None:
    """Name the temperature at which BLEU-5 and self-BLEU-5 are nearest those of real text."""
    points = quality_diversity.points(data.scores, data.names[0])
    real = next((point for point in points if point["name"] == REAL), None)
    swept = [point for point in points if point["name"] == name]
    if real is None or len(swept) < 2:
        return None

    def distance(point: quality_diversity.Point) -> float:
        return math.hypot(*(point[key] - real[key] for key in ("bleu_5", "self_bleu_5")))

    best = min(swept, key=distance)["temperature"]
    text = f"{label} is nearest real text, in BLEU-5 and self-BLEU-5, at temperature {best:g}."
    return Finding(text, "tradeoff")


def _short(text: str, most: int = 80) -> str:
    shown = text or "(blank)"
    return shown if len(shown) <= most else f"{shown[:most]}…"
