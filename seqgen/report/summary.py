"""The summary at the head of a page about text: what was trained, five numbers, what differs, where to look.

The five numbers are of quality, of diversity and of both, each with a 95 % interval and beside those of real
text and of an n-gram model; none of them is best where it is highest, but where real text is. Two numbers
differ significantly where their difference exceeds √(h² + k²), h and k being the parts of their intervals
that point to each other: the two-sided test at the level of 5 % of independent estimates. It is of samples:
how much another seed of the training would move a number, it does not know.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.metrics.classifier import wilson_interval
from seqgen.report.findings import Finding, findings
from seqgen.report.scores import ReportData, value_at
from seqgen.report.tables import Cell, Table

TEST = (
    "By the 95 % intervals of the samples, each difference tested alone at 5 %. Another seed of the training "
    "may move a number by more."
)
LOSSES = {
    "valid_nll": "validation NLL, nats a token:",
    "valid_elbo": "validation ELBO, nats a sentence:",
    "valid_loss": "validation loss:",
}
"""The losses of which the least value is said, the first that there is."""
MOST_PAIRS = 6
"""Pairs of runs that are compared."""


@dataclass(frozen=True)
class Number:
    """One of the numbers: its name, the keys of its value, its format, and what it says."""

    name: str
    keys: tuple[str, ...]
    meaning: str
    is_rate: bool = False
    """Whether it is the fraction of sentences with a property."""

    def format(self, value: float) -> str:
        """Return a value as it is shown."""
        return f"{value:.1%}" if self.is_rate else f"{value:.3f}"


VALID = Number("valid", ("grammar", "valid"), "sentences of the corpus' grammar", is_rate=True)
REVERSE = Number("reverse LM", ("lm", "reverse"), "nats a token of real text, by a model of the samples")
OTHERS = (
    Number("BLEU-5", ("bleu", "5"), "quality: n-grams of held-out text"),
    Number("self-BLEU-5", ("self_bleu", "5"), "diversity: lower is more diverse"),
    Number("classifier", ("classifier", "accuracy"), "told from real text; chance .5"),
    Number("novel", ("novel",), "not in the training set", is_rate=True),
)


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval, None where there are too few sentences for one."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Trained:
    """What was trained, of one run."""

    label: str
    text: str


@dataclass(frozen=True)
class Summary:
    """All that the summary says."""

    trained: Sequence[Trained]
    numbers: Table
    differences: Sequence[str]
    look_at: Sequence[Finding]
    note: str = ""
    test: str = TEST


def summary(data: ReportData) -> Summary:
    """Sum up the scores and the training of all runs."""
    rows = data.rows()
    numbers = chosen(rows)
    sizes = {label: int(data.scores["protocol"]["n"]) for label in rows}
    if REAL in rows:
        sizes[REAL] = int(data.scores["protocol"]["real_n"])
    found = {
        label: {each.name: estimate(row, each, sizes[label]) for each in numbers}
        for label, row in rows.items()
    }
    return Summary(
        trained=_trained(data),
        numbers=_table(numbers, found),
        differences=differences(numbers, found, data.labels),
        look_at=findings(data, rows),
        note=f"{sizes[data.labels[0]]:,} samples of each; below each number its 95 % interval.",
    )


def chosen(rows: Mapping[str, Mapping[str, Any]]) -> list[Number]:
    """Return the five numbers: validity where a grammar decides it, else the reverse language model."""
    first = VALID if any(value_at(row, VALID.keys) is not None for row in rows.values()) else REVERSE
    return [first, *OTHERS]


def estimate(row: Mapping[str, Any], number: Number, n: int) -> Estimate | None:
    """Return a number of a row of n sentences; a rate has Wilson's interval, which never is of no width."""
    value = value_at(row, number.keys)
    if value is None:
        return None
    if number.is_rate:
        return Estimate(value, wilson_interval(round(value * n), n))
    interval = value_at(row, ("intervals", *number.keys))
    return Estimate(value, interval and (interval[0], interval[1]))


def is_significant(one: Estimate, other: Estimate) -> bool | None:
    """Whether two independent estimates differ, by the test of the module; None where it is not known."""
    low, high = sorted((one, other), key=lambda each: each.value)
    if low.interval is None or high.interval is None:
        return None
    return high.value - low.value > math.hypot(low.interval[1] - low.value, high.value - high.interval[0])


Estimates = Mapping[str, Mapping[str, Estimate | None]]


def _table(numbers: Sequence[Number], found: Estimates) -> Table:
    rows = []
    for number in numbers:
        real = found.get(REAL, {}).get(number.name)
        cells = [
            _cell(number, of[number.name], None if label == REAL else real) for label, of in found.items()
        ]
        rows.append([Cell(number.name, [number.meaning]), *cells])
    return Table(["number", *found], rows)


def _cell(number: Number, found: Estimate | None, real: Estimate | None) -> Cell:
    if found is None:
        return Cell("–")
    below = []
    if found.interval:
        below.append("–".join(number.format(bound) for bound in found.interval))
    if real is not None and (differs := is_significant(found, real)) is not None:
        word = "above" if found.value > real.value else "below"
        below.append(f"{word} real" if differs else "as real")
    return Cell(number.format(found.value), below)


def differences(numbers: Sequence[Number], found: Estimates, labels: Sequence[str]) -> list[str]:
    """Say of each run in which numbers it differs from real text, from n-grams, and from other runs."""
    pairs = [(label, other) for label in labels for other in (REAL, BASELINE) if other in found]
    pairs += list(combinations(labels, 2))[:MOST_PAIRS]
    return [_difference(numbers, *pair, found) for pair in pairs]


def _difference(numbers: Sequence[Number], one: str, other: str, found: Estimates) -> str:
    named: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for number in numbers:
        first, second = found[one][number.name], found[other][number.name]
        if first is None or second is None:
            continue
        differs = is_significant(first, second)
        change = first.value - second.value
        size = f"{change * 100:+.1f} points" if number.is_rate else f"{change:+.3f}"
        named[differs].append(f"{number.name} ({size.replace('-', '−')})" if differs else number.name)
    parts = [f"{one} and {other} differ in {', '.join(named[True])}"] if named[True] else []
    equal = f"{', '.join(named[False])}"
    if equal:
        parts.append(f"not in {equal}" if parts else f"{one} and {other} do not differ in {equal}")
    if named[None]:
        parts.append(f"of {', '.join(named[None])} that is not known: too few sentences")
    return "; ".join(parts)


def _trained(data: ReportData) -> list[Trained]:
    """Say which text it is, what each run is, for how long it was trained, and how well it predicts."""
    first = data.configs[0]
    sizes = first.get("sizes") or {}
    parts = [str(first["data"]["corpus"])]
    if sizes.get("train"):
        held = f"{sizes.get('valid', 0):,} for validation, {sizes.get('test', 0):,} for the test"
        parts += [f"{sizes['train']:,} training sentences", held, f"{first['vocab_size']:,} tokens known"]
    runs = [_run(*each) for each in zip(data.labels, data.configs, data.metrics, strict=True)]
    return [*runs, Trained("text", f"{', '.join(parts)}.")]


def _run(label: str, config: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> Trained:
    generator = config["settings"].get("generator") or {}
    kind = str(generator.get("cell", "")).upper() or generator.get("kind")
    model = f"{config['algorithm']}, {kind} generator" if kind else config["algorithm"]
    return Trained(label, f"{model}; {length_of_training(config, metrics)}")


def length_of_training(config: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Say how long a run was trained, and what its best report says of the validation split."""
    if not metrics:
        return "nothing was reported yet."
    last = metrics[-1]
    of = f" of {config['steps']:,}" if config.get("steps") else ""
    text = f"{last['step']:,}{of} steps"
    if last.get("seconds"):
        text += f" in {duration(last['seconds'])}"
    name = next((name for name in LOSSES if name in last), None)
    if name is None:
        return f"{text}."
    best = min((row for row in metrics if name in row), key=lambda row: row[name])
    perplexity = f" (perplexity {best['valid_ppl']:.2f})" if "valid_ppl" in best else ""
    return f"{text}; least {LOSSES[name]} {best[name]:.3f}{perplexity}, at step {best['step']:,}."


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
