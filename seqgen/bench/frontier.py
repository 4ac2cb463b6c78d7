"""The results of a benchmark of generators as a table, and as a picture of quality against coverage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqgen.bench.comparisons import SWEEPS
from seqgen.core.atomic_files import write_bytes
from seqgen.core.figures import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = (
    ("NLL_test", "nll_test"),
    ("NLL_oracle", "nll_oracle"),
    ("own NLL", "nll_own"),
    ("KL(p|q)", "forward_kl"),
    ("KL(q|p)", "reverse_kl"),
    ("sum", "jeffreys"),
    ("JS", "jensen_shannon"),
    ("valid", "valid"),
    ("missed", "missed"),
    ("gain", "gain"),
    ("BLEU-5", "bleu_5"),
    ("self-BLEU-5", "self_bleu_5"),
    ("MS-Jaccard-4", "ms_jaccard_4"),
    ("Fréchet", "frechet"),
    ("reverse LM", "reverse_lm"),
    ("classifier", "classifier"),
)
PUBLISHED = (
    ("MLE, settings chosen on test NLL", 9.400, 7.610),
    ("MLE, chosen on the sum", 8.276, 8.056),
    ("MLE, chosen on NLL_oracle", 7.836, 9.629),
    ("RL-GAN, chosen on the sum", 8.754, 8.062),
    ("GAN + MLE", 8.065, 8.133),
    ("CoT", 9.504, 7.570),
    ("SeqGAN's code", 9.617, 9.215),
    ("LeakGAN's code", 10.591, 11.271),
)
"""NLL_oracle and NLL_test of the SeqGAN oracle at T 20 and temperature 1, from the raw results of Language
GANs Falling Short (Caccia et al. 2020; its repository pclucas14/GansFallingShort)."""
HEADLINES = (("SeqGAN", 8.736), ("RankGAN", 8.247), ("LeakGAN*", 7.038), ("RelGAN", 6.680))
"""NLL_oracle alone, as tabulated by Nie et al. 2019; NLL_test was not reported."""
CAVEAT = (
    "published points: one run each, settings chosen on test data; published NLL_oracle alone (dotted) says "
    "nothing of coverage\n* LeakGAN's code samples at temperature 0.667, its baselines at 1"
)


class Plane(NamedTuple):
    """Two figures against each other, and what the axes say."""

    x: str
    y: str
    x_label: str
    y_label: str
    note: str


KNOWN = Plane(
    "nll_oracle",
    "nll_test",
    "NLL_oracle of what is drawn; left is likelier under the true distribution",
    "NLL_test; lower covers more",
    "; grey line: NLL_test infinite",
)
TEXT = Plane("self_bleu_5", "bleu_5", "self-BLEU-5; left is more diverse", "BLEU-5; higher is closer", "")


def table(summary: Sequence[Mapping[str, Any]], *, null: str = "∞") -> str:
    """Lay the rows of every case out: mean ± standard error; `null` for one that is not finite."""
    blocks = []
    for case in dict.fromkeys(row["case"] for row in summary):
        rows = [row for row in summary if row["case"] == case]
        known = {key for row in rows for key, each in row["figures"].items() if each["mean"] is not None}
        columns = [(title, key) for title, key in COLUMNS if key in known]
        lines = [[f"{case}", *(title for title, _ in columns)]]
        lines += [
            [row["name"], *(_cell(row["figures"].get(key), null) for _, key in columns)] for row in rows
        ]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        blocks.append(
            "\n".join(
                "  ".join(
                    [
                        line[0].ljust(widths[0]),
                        *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
                    ]
                )
                for line in lines
            )
        )
    return "\n\n".join(blocks)


def _cell(figure: Mapping[str, float | None] | None, null: str) -> str:
    if figure is None:
        return ""
    if figure["mean"] is None:
        return null
    error = "" if figure["error"] is None else f" ±{figure['error']:.3f}"
    return f"{figure['mean']:.3f}{error}"


def save(summary: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw quality against coverage for every case, the sweeps as curves, as a PNG file, atomically.

    Of a known distribution that is NLL_oracle against NLL_test. Rows whose NLL_test is infinite, as those of
    a truncation mostly are, are drawn at the upper edge. Of a text it is self-BLEU-5 against BLEU-5.
    Published points are those of the SeqGAN oracle at T 20 with limited data, in its panel alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in summary))
    figure = Figure(figsize=(8, 6 * len(cases)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, case in zip(figure.subplots(len(cases), 1, squeeze=False)[:, 0], cases, strict=True):
        _panel(axes, case, [row for row in summary if row["case"] == case])
    write_bytes(path, render(figure))


def _panel(axes: "Axes", case: str, rows: Sequence[Mapping[str, Any]]) -> None:
    plane = KNOWN if "nll_oracle" in rows[0]["figures"] else TEXT
    finite = [y for row in rows if (y := _mean(row, plane.y)) is not None]
    edge = max(finite) + 0.08 * (max(finite) - min(finite) + 0.1)
    styles = {"truth": "k*", "mle": "ks", "adversarial": "o", "control": "x"}

    def place(row: Mapping[str, Any]) -> tuple[float | None, float]:
        y = _mean(row, plane.y)
        return _mean(row, plane.x), edge if y is None else y

    for group in SWEEPS:
        points = [place(row) for row in rows if row["group"] == group]
        kept = [(x, y) for x, y in points if x is not None]
        axes.plot([x for x, _ in kept], [y for _, y in kept], ".-", label=f"{group} sweep")
    for row in rows:
        x, y = place(row)
        if row["group"] in styles and x is not None:
            axes.plot([x], [y], styles[row["group"]], label=row["name"])
    if "seqgan" in case and "T 20, limited" in case:
        _published(axes)
    axes.set_title(case + plane.note, fontsize=10)
    if plane is KNOWN:
        axes.axhline(edge, color="0.8", linewidth=0.8)
    axes.set_xlabel(plane.x_label)
    axes.set_ylabel(plane.y_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, ncols=2)


def _mean(row: Mapping[str, Any], key: str) -> float | None:
    value: float | None = row["figures"][key]["mean"]
    return value


def _published(axes: "Axes") -> None:
    for name, x, y in PUBLISHED:
        axes.plot([x], [y], "+", color="0.5")
        axes.annotate(f" {name}", (x, y), fontsize=6, color="0.4")
    for name, x in HEADLINES:
        axes.axvline(x, color="0.6", linestyle=":", linewidth=0.8)
        axes.annotate(name, (x, axes.get_ylim()[0]), fontsize=6, rotation=90, color="0.4")
    axes.text(0.01, 0.99, CAVEAT, transform=axes.transAxes, fontsize=6, va="top")
