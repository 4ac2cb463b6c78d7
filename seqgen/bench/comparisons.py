"""Rows of a benchmark of generators over its seeds, and beside the likelihood model.

A row is compared with two things of its own seed, so that what one draw of the data does to all rows cancels:
with `mle` as it is, and with `mle` sharpened or flattened until it is as diverse. For the latter a
temperature, a top-p and a min-p sweep are curves through `mle`, linear between their points; what counts is
the best of them at the row's `nll_own`, of a text at its `self_bleu_5`.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from seqgen.bench.jobs import Result
from seqgen.bench.truths import Figures

SWEEPS = {"temperature": 1.0, "top-p": 1.0, "min-p": 0.0}
"""Groups of rows that are one model sharpened more and more, and the value that leaves it as it is."""
COMPARED = ("adversarial", "control")
"""Groups of rows that are compared."""
MATCHED = {
    "nll_own": {"nll_oracle": -1, "jensen_shannon": -1, "valid": 1},
    "self_bleu_5": {"bleu_5": 1, "ms_jaccard_4": 1, "frechet": -1, "reverse_lm": -1, "classifier": -1},
}
"""By the figure that is to be equal: what is compared then, 1 where a higher value is better."""
DIVERSITY = {"nll_own": "own NLL", "self_bleu_5": "self-BLEU-5"}
LEFT_OUT = ("nll_test", "missed")
"""Figures of which no difference is shown: that of the first is the one of `forward_kl`, or the `gain`."""


def summary(rows: Sequence[Result]) -> list[Result]:
    """Average the rows of several seeds: mean over seeds and its standard error; of one seed, over sentences.

    A figure that is infinite with any seed is null.
    """
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["group"], row["name"]), []).append(row)
    found = []
    for (case, group, name), same in groups.items():
        figures: dict[str, dict[str, float | None]] = {}
        for key in same[0]["figures"]:
            means = [row["figures"][key]["mean"] for row in same]
            if None in means:
                figures[key] = {"mean": None, "error": None}
            elif len(means) == 1:
                figures[key] = same[0]["figures"][key]
            else:
                error = statistics.stdev(means) / math.sqrt(len(means))
                figures[key] = {"mean": statistics.fmean(means), "error": error}
        found.append({"case": case, "group": group, "name": name, "seeds": len(same), "figures": figures})
    return found


def comparisons(rows: Sequence[Result]) -> list[Result]:
    """Compare rows with `mle` and with `mle` of equal diversity, as a `summary` whose `case` says with which.

    Errors are over seeds; of one seed those of both rows, as if they were independent, which is too large.
    A figure is null where one of both is infinite, or where no sweep reaches the row's diversity.
    """
    seeds: dict[tuple[str, int], list[Result]] = {}
    for row in rows:
        seeds.setdefault((row["case"], row["seed"]), []).append(row)
    of_mle: list[Result] = []
    of_equal: list[Result] = []
    for (case, _), same in seeds.items():
        (mle,) = (row["figures"] for row in same if row["group"] == "mle")
        matched = next(key for key in MATCHED if key in mle)
        curves = [_curve(same, group, mle) for group in SWEEPS]
        for row in same:
            if row["group"] in COMPARED:
                less = _less(row["figures"], mle)
                of_mle.append(row | {"case": f"{case}: less mle", "figures": less})
                less = _less_equal(row["figures"], curves, matched)
                label = f"{case}: less mle of equal {DIVERSITY[matched]}"
                of_equal.append(row | {"case": label, "figures": less})
    return summary(of_mle + of_equal)


def _less(figures: Figures, others: Figures) -> Figures:
    """Return the figures less others of the same keys."""
    found: Figures = {}
    for key in figures:
        if key not in LEFT_OUT and key in others:
            found[key] = _difference(figures[key], others[key])
    return found


def _less_equal(figures: Figures, curves: Sequence[Sequence[Figures]], matched: str) -> Figures:
    """Return the figures less the best that any curve has where its figure `matched` is that of the row."""
    at = figures[matched]["mean"]
    found: Figures = {}
    for key, sign in MATCHED[matched].items():
        if key in figures:
            crossed = (
                [] if at is None else [y for curve in curves for y in _crossings(curve, matched, at, key)]
            )
            best = max(crossed, key=lambda each: sign * each["mean"], default={"mean": None, "error": None})
            found[key] = _difference(figures[key], best)
    return found


def _curve(rows: Sequence[Result], group: str, mle: Figures) -> list[Figures]:
    """Return the figures of a sweep and of `mle` itself, in the order of the sweep's values."""
    points = [(float(row["name"].split()[1]), row["figures"]) for row in rows if row["group"] == group]
    points.append((SWEEPS[group], mle))
    return [figures for _, figures in sorted(points, key=lambda point: point[0])]


def _crossings(curve: Sequence[Figures], x: str, at: float, y: str) -> Iterator[dict[str, Any]]:
    """Yield the figure y of a curve, linear between its points, wherever its figure x has a value."""
    for left, right in pairwise(curve):
        x0, x1, y0, y1 = left[x]["mean"], right[x]["mean"], left[y]["mean"], right[y]["mean"]
        if x0 is None or x1 is None or y0 is None or y1 is None:
            continue
        if min(x0, x1) <= at <= max(x0, x1):
            share = (at - x0) / (x1 - x0) if x1 != x0 else 0.0
            errors = [each[y]["error"] or 0.0 for each in (left, right)]
            yield {"mean": y0 + share * (y1 - y0), "error": max(errors)}


def _difference(
    figure: Mapping[str, float | None], other: Mapping[str, float | None]
) -> dict[str, float | None]:
    if figure["mean"] is None or other["mean"] is None:
        return {"mean": None, "error": None}
    error = math.hypot(figure["error"] or 0.0, other["error"] or 0.0)
    return {"mean": figure["mean"] - other["mean"], "error": error}
