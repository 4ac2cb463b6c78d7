"""The sections of the report about settings, scores, the quality–diversity trade-off and the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.core import settings
from seqgen.evaluation import quality_diversity
from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.evaluation.table import BLOCKS, Column, render
from seqgen.report.charts import Chart, Key, Series, chart, key
from seqgen.report.tables import Cell, Table, cells

GROUPS = {"settings": "Algorithm", "data": "Data"}
"""Prefixes of the settings in a configuration and their headings; all others are of the run."""
LAST = "Run"


@dataclass(frozen=True)
class ReportData:
    """The data of all sections; each list has an entry for every run."""

    names: list[str]
    """names in `scores`"""
    labels: list[str]
    """names on the page"""
    hues: list[str]
    configs: list[dict[str, Any]]
    metrics: list[list[dict[str, Any]]]
    scores: dict[str, Any]

    def label(self, name: str) -> str:
        """Return the label of a name of the scores."""
        return dict(zip(self.names, self.labels, strict=True)).get(name, name)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the scores of real text, of the n-gram baseline and of each run, by label."""
        sets = self.scores.get("rows") or [{**self.scores, "name": self.names[0]}]
        rows = {REAL: self.scores["real"], BASELINE: self.scores["baseline"]}
        rows |= {self.label(each["name"]): each for each in sets}
        return {label: row for label, row in rows.items() if row}

    def keys(self) -> list[Key]:
        """Return the legend of the runs."""
        return [key(*each) for each in zip(self.labels, self.hues, strict=True)]


def settings_table(
    names: Sequence[str], labels: Sequence[str], configs: Sequence[Mapping[str, Any]]
) -> Table:
    """Lay out the configuration of every run, one column each; rows that differ are marked."""
    flattened = [
        settings.flatten({"run": name} | dict(config)) for name, config in zip(names, configs, strict=True)
    ]
    groups: dict[str, list[list[Cell]]] = {title: [] for title in (*GROUPS.values(), LAST)}
    for name in dict.fromkeys(name for each in flattened for name in each):
        values = [_format_setting(each[name]) if name in each else "–" for each in flattened]
        differs = all(name in each for each in flattened) and len(set(values)) > 1
        prefix, _, rest = name.partition(".")
        has_group = prefix in GROUPS and rest
        heading = Cell(rest if has_group else name, badge="differs" if differs else "")
        groups[GROUPS[prefix] if has_group else LAST].append([heading, *cells(*values)])
    rows = [row for title, group in groups.items() if group for row in ([Cell(title)], *group)]
    return Table(["setting", *labels], rows, kind="settings")


def _format_setting(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def score_tables(data: ReportData) -> list[Table]:
    """Lay out every score: real text, the n-gram baseline, each run, the sweep, with 95 % intervals."""
    rows: dict[str, Mapping[str, Any]] = dict(data.rows())
    for point in data.scores.get("sweep", []):
        rows[f"{data.label(point['name'])} at {point['temperature']:g}"] = point | {
            "lm_score": point["lm"],
            "lm": None,
        }
    return [found for title, columns in BLOCKS.items() if (found := _block(title, columns, rows))]


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> Table | None:
    found = [[_cell(row, column) for column in columns] for row in rows.values()]
    used = [i for i in range(len(columns)) if any(row[i] for row in found)]
    shown = [
        [Cell(label), *(row[i] or Cell("–") for i in used)]
        for label, row in zip(rows, found, strict=True)
        if any(row)
    ]
    if not shown:
        return None
    heads = ["text", *(columns[i].heading for i in used)]
    return Table(heads, shown, title=title[0].upper() + title[1:])


def _cell(row: Mapping[str, Any], column: Column) -> Cell | None:
    value, interval = value_at(row, column.keys), value_at(row, ("intervals", *column.keys))
    if value is None:
        return None
    spec = ",.0f" if column.format.endswith("d") else column.format
    below = [" – ".join(format(bound, spec).removesuffix("%") for bound in interval)] if interval else []
    return Cell(format(value, column.format).removesuffix("%"), below)


def value_at(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the value at nested keys; None where there is none."""
    value: Any = row
    for each in keys:
        value = value.get(each) if isinstance(value, Mapping) else None
    return value


def tradeoff(data: ReportData) -> list[Chart]:
    """Draw the quality–diversity curve of every run, with real text and the baseline as points."""
    points = quality_diversity.points(data.scores, data.names[0])
    hues = dict(zip(data.names, data.hues, strict=True)) | {REAL: "real", BASELINE: "baseline"}
    charts = []
    for (x_key, sign, y_key, x_label, y_label), title in zip(
        quality_diversity.PANELS, ("BLEU", "Language models"), strict=True
    ):
        lines = [
            _tradeoff_series(
                data.label(name), hues[name], [p for p in points if p["name"] == name], x_key, sign, y_key
            )
            for name in hues
        ]
        charts.append(
            chart([line for line in lines if line.points], title=title, x_label=x_label, y_label=y_label)
        )
    return charts


def _tradeoff_series(
    label: str, hue: str, points: Sequence[quality_diversity.Point], x_key: str, sign: int, y_key: str
) -> Series:
    ordered = sorted(points, key=lambda point: point["temperature"] or 0.0)
    coordinates = [(sign * point[x_key], point[y_key]) for point in ordered]
    names = ["" if p["temperature"] is None else f"{p['temperature']:g}" for p in ordered]
    return Series(label, coordinates, hue, names=names)


def protocol(data: ReportData) -> list[str]:
    """List everything that the scores depend on."""
    # The last paragraph of the plain-text table is the protocol, wrapped with an indent.
    lines = render(data.scores, data.names[0]).rpartition("\n\n")[2].replace("\n  ", " ").splitlines()
    return [*lines, f"corpus hash {data.scores['protocol']['corpus_hash']}"]
