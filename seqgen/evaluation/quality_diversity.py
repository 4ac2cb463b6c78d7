"""The quality–diversity curve of a temperature sweep (Caccia et al. 2020), as points and as a plot.

A temperature is one trade-off: a lower one gives higher quality and lower diversity. Quality is measured by
BLEU-5 and by the language-model score, diversity by self-BLEU-5 and by the reverse language-model score. A
curve closer to the lower left of the plot is better at every trade-off.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgen.core.atomic_files import write_bytes
from seqgen.core.figures import render
from seqgen.evaluation.references import References
from seqgen.metrics.bleu import bleu_of_encoded, self_bleu_of_encoded
from seqgen.ngrams import kneser_ney

Point = dict[str, Any]
"""`name`, `temperature` (or None), `bleu_5`, `self_bleu_5`, `lm`, `reverse_lm` (nats a token)."""
REAL, BASELINE = "real text", "n-gram baseline"
PANELS = (
    ("bleu_5", -1, "self_bleu_5", "negative BLEU-5; left is better", "self-BLEU-5; lower is more diverse"),
    (
        "lm",
        1,
        "reverse_lm",
        "language-model score, nats a token; left is better",
        "reverse score; lower is better",
    ),
)
"""Key and sign of the horizontal axis, key of the vertical axis, and both labels."""


def measure(lines: Sequence[str], references: References, *, name: str, temperature: float | None) -> Point:
    """Measure only the four metrics of a point."""
    encoded, combine = references.vocabulary.encode(lines), references.protocol.combine
    reverse_model = kneser_ney.fit(encoded, references.word_ids)
    refs = references.encoded
    return {
        "name": name,
        "temperature": temperature,
        "bleu_5": float(bleu_of_encoded(encoded, refs, combine=combine)[5].mean()),
        "self_bleu_5": float(self_bleu_of_encoded(encoded, combine=combine)[5].mean()),
        "lm": float(references.language_model.nll(encoded).sum() / (encoded.lengths + 1).sum()),
        "reverse_lm": float(reverse_model.nll(refs).sum() / (refs.lengths + 1).sum()),
    }


def points(results: Mapping[str, Any], name: str) -> list[Point]:
    """The points of an evaluation: real text, baseline, samples (`name` labels a single set), sweep."""
    named = [(REAL, results["real"], None), (BASELINE, results["baseline"], None)]
    temperature = results["protocol"]["temperature"]
    swept = list(results.get("sweep", []))
    measured = {(point["name"], point["temperature"]) for point in swept}
    rows = results.get("rows") or [{**results, "name": name}]
    named += [(row["name"], row, temperature) for row in rows if (row["name"], temperature) not in measured]
    return [_point(*each) for each in named if each[1]] + swept


def _point(name: str, row: Mapping[str, Any], temperature: float | None) -> Point:
    return {
        "name": name,
        "temperature": temperature,
        "bleu_5": row["bleu"]["5"],
        "self_bleu_5": row["self_bleu"]["5"],
        "lm": row["lm"]["score"],
        "reverse_lm": row["lm"]["reverse"],
    }


def draw(curve: Sequence[Point], *, title: str = "", kind: str = "png") -> bytes:
    """Plot points in two panels, a line for each name, points labelled by temperature; `png` or `svg`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for axes, (x_key, sign, y_key, x_label, y_label) in zip(panels, PANELS, strict=True):
        for name in dict.fromkeys(point["name"] for point in curve):
            group = sorted(
                (point for point in curve if point["name"] == name), key=lambda p: p["temperature"] or 0.0
            )
            xs, ys = [sign * point[x_key] for point in group], [point[y_key] for point in group]
            axes.plot(xs, ys, _style(name), label=name, markersize=14 if name == REAL else 7)
            for x, y, point in zip(xs, ys, group, strict=True):
                if point["temperature"] is not None:
                    axes.annotate(f" {point['temperature']:g}", (x, y), fontsize=8)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return render(figure, kind=kind)


def _style(name: str) -> str:
    return {REAL: "k*", BASELINE: "kx"}.get(name, "o-")


def save(curve: Sequence[Point], path: Path, *, title: str = "") -> None:
    """Write the plot of the points as a PNG file, atomically."""
    write_bytes(path, draw(curve, title=title))
