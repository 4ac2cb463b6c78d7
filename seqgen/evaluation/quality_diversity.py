"""The quality–diversity curve of temperature sweeps (Caccia et al. 2020), as points and as a picture.

A single temperature shows one trade: lower ones write likelier sentences of less variety. Quality is BLEU-5,
and the language-model score; diversity is self-BLEU-5, and the reverse score; a curve nearer the lower left
of the picture is better at every trade.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqgen.core.atomic_files import write_bytes
from seqgen.core.figures import render
from seqgen.evaluation.references import Yardstick
from seqgen.metrics.bleu import bleu_of, self_bleu_of
from seqgen.ngrams import kneser_ney

Point = dict[str, Any]
"""`name`, `temperature` (or None), `bleu_5`, `self_bleu_5`, `lm`, `reverse_lm` (nats a token)."""
REAL, BASELINE = "real text", "n-gram baseline"
PANELS = (
    ("bleu_5", -1, "self_bleu_5", "negative BLEU-5; left is better", "self-BLEU-5; lower is more varied"),
    (
        "lm",
        1,
        "reverse_lm",
        "language-model score, nats a token; left is better",
        "reverse score; lower is better",
    ),
)
"""What stands across with its sign, what stands up, and their labels."""


def measure(lines: Sequence[str], against: Yardstick, *, name: str, temperature: float | None) -> Point:
    """Measure the four figures of a point, and nothing else."""
    coded, combine = against.coder(lines), against.protocol.combine
    reverse = kneser_ney.fit(coded, against.known)
    refs = against.coded
    return {
        "name": name,
        "temperature": temperature,
        "bleu_5": float(bleu_of(coded, refs, combine=combine)[5].mean()),
        "self_bleu_5": float(self_bleu_of(coded, combine=combine)[5].mean()),
        "lm": float(against.real_model.nats(coded).sum() / (coded.lengths + 1).sum()),
        "reverse_lm": float(reverse.nats(refs).sum() / (refs.lengths + 1).sum()),
    }


def points(report: Mapping[str, Any], name: str) -> list[Point]:
    """The points of a report: real text, baseline, the sentences (called `name` if one set), the sweep."""
    named = [(REAL, report["real"], None), (BASELINE, report["baseline"], None)]
    temperature = report["protocol"]["temperature"]
    swept = list(report.get("sweep", []))
    measured = {(point["name"], point["temperature"]) for point in swept}
    rows = report.get("rows") or [{**report, "name": name}]
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


def draw(found: Sequence[Point], *, title: str = "", kind: str = "png") -> bytes:
    """Draw points as two panels, a line for each name, temperatures beside its points; `png` or `svg`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for axes, (across, sign, up, below, beside) in zip(panels, PANELS, strict=True):
        for name in dict.fromkeys(point["name"] for point in found):
            mine = sorted(
                (point for point in found if point["name"] == name), key=lambda p: p["temperature"] or 0.0
            )
            xs, ys = [sign * point[across] for point in mine], [point[up] for point in mine]
            axes.plot(xs, ys, _style(name), label=name, markersize=14 if name == REAL else 7)
            for x, y, point in zip(xs, ys, mine, strict=True):
                if point["temperature"] is not None:
                    axes.annotate(f" {point['temperature']:g}", (x, y), fontsize=8)
        axes.set_xlabel(below)
        axes.set_ylabel(beside)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return render(figure, kind=kind)


def _style(name: str) -> str:
    return {REAL: "k*", BASELINE: "kx"}.get(name, "o-")


def save(found: Sequence[Point], path: Path, *, title: str = "") -> None:
    """Write the picture of the points as a PNG file, whole or not at all."""
    write_bytes(path, draw(found, title=title))
