"""The sections of the report about settings, scores, the quality–diversity trade-off and the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.core import settings
from seqgen.evaluation import quality_diversity
from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.evaluation.table import BLOCKS, Column, render
from seqgen.report.charts import Series, chart, legend
from seqgen.report.html import Html, element, join, section, table

SECTIONS = {
    "settings": "Settings",
    "training": "Training",
    "scores": "Scores",
    "tradeoff": "Quality and diversity",
    "samples": "Samples",
    "latents": "Latent space",
    "lengths": "Lengths",
    "ngrams": "Most frequent n-grams",
    "protocol": "Protocol",
}
"""Anchors and headings of the sections, in order; `latents` only if a run has them."""
GROUPS = {"": "Run", "settings": "Algorithm", "data": "Data"}
"""Prefixes of the settings in a configuration and their headings."""


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

    def legend(self) -> list[tuple[str, str]]:
        """Pair the label of each run with its colour class."""
        return list(zip(self.labels, self.hues, strict=True))


def heading(data: ReportData, *, n: int, seed: int, has_latents: bool) -> Html:
    """Name the runs and link to the sections."""
    about = [
        f"{label}: {config['algorithm']} on {config['data']['corpus']}"
        for label, config in zip(data.labels, data.configs, strict=True)
    ]
    shown = {anchor: title for anchor, title in SECTIONS.items() if anchor != "latents" or has_latents}
    links = [element("a", title, href=f"#{anchor}") for anchor, title in shown.items()]
    return element(
        "header",
        element("h1", "seqgen report"),
        element("ul", *(element("li", each, class_="run") for each in about)),
        element("p", f"{n:,} samples of each run at each temperature, seed {seed}.", class_="note"),
        element("nav", *links),
    )


def settings_table(data: ReportData) -> Html:
    """Lay out the configuration of every run, one column each; rows that differ are marked."""
    flattened = [
        settings.flatten({"run": name} | config)
        for name, config in zip(data.names, data.configs, strict=True)
    ]
    groups: dict[str, list[list[str]]] = {title: [] for title in GROUPS.values()}
    for name in dict.fromkeys(name for each in flattened for name in each):
        values = [_format_setting(each[name]) if name in each else "–" for each in flattened]
        differs = all(name in each for each in flattened) and len(set(values)) > 1
        mark = element("span", "differs", class_="badge") if differs else ""
        prefix, _, rest = name.partition(".")
        has_group = prefix in GROUPS and rest
        groups[GROUPS[prefix if has_group else ""]].append([join(rest if has_group else name, mark), *values])
    tables = [
        element("div", table(["", *data.labels], rows, title=title, class_="settings"))
        for title, rows in groups.items()
        if rows
    ]
    return section("settings", SECTIONS["settings"], element("div", *tables, class_="groups"))


def _format_setting(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def scores(data: ReportData) -> Html:
    """Lay out every score: real text, the n-gram baseline, each run, the sweep, with 95 % intervals."""
    results = data.scores
    sets = results.get("rows") or [{**results, "name": data.names[0]}]
    rows = {REAL: results["real"], BASELINE: results["baseline"]}
    rows |= {data.label(each["name"]): each for each in sets}
    for point in results.get("sweep", []):
        rows[f"{data.label(point['name'])} at {point['temperature']:g}"] = point | {
            "lm_score": point["lm"],
            "lm": None,
        }
    kept = {label: row for label, row in rows.items() if row}
    tables = [_block(title, columns, kept) for title, columns in BLOCKS.items()]
    note = (
        f"Runs at temperature {results['protocol']['temperature']:g}. Below each score is its 95 % interval. "
        "Real text is a random subset of the training sentences, as many as there are samples."
    )
    return section("scores", SECTIONS["scores"], element("p", note, class_="note"), *filter(None, tables))


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> Html | None:
    cells = [[label, *(_cell(row, column) for column in columns)] for label, row in rows.items()]
    used = [i for i in range(len(columns) + 1) if i == 0 or any(row[i] for row in cells)]
    shown = [[row[i] or "–" for i in used] for row in cells if any(row[1:])]
    heads = [columns[i - 1].heading if i else "" for i in used]
    return table(heads, shown, title=title[0].upper() + title[1:]) if shown else None


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value, interval = _value(row, column.keys), _value(row, ("intervals", *column.keys))
    if value is None:
        return ""
    spec = ",.0f" if column.format.endswith("d") else column.format
    interval_text = (
        [element("small", " – ".join(format(bound, spec).removesuffix("%") for bound in interval))]
        if interval
        else []
    )
    return join(format(value, column.format).removesuffix("%"), *interval_text)


def _value(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = row
    for each in keys:
        value = value.get(each) if isinstance(value, Mapping) else None
    return value


def tradeoff(data: ReportData) -> Html:
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
    note = (
        "A low temperature gives higher quality and lower diversity; the numbers are temperatures. "
        "A curve closer to the lower left is better at every trade-off."
    )
    entries = [(data.label(name), hue) for name, hue in hues.items()]
    return section(
        "tradeoff",
        SECTIONS["tradeoff"],
        element("p", note, class_="note"),
        legend(entries),
        element("div", *charts, class_="charts pair"),
    )


def _tradeoff_series(
    label: str, hue: str, points: Sequence[quality_diversity.Point], x_key: str, sign: int, y_key: str
) -> Series:
    ordered = sorted(points, key=lambda point: point["temperature"] or 0.0)
    coordinates = [(sign * point[x_key], point[y_key]) for point in ordered]
    names = ["" if p["temperature"] is None else f"{p['temperature']:g}" for p in ordered]
    return Series(label, coordinates, hue, names=names)


def protocol(data: ReportData) -> Html:
    """List everything that the scores depend on."""
    # The last paragraph of the plain-text table is the protocol, wrapped with an indent.
    lines = render(data.scores, data.names[0]).rpartition("\n\n")[2].replace("\n  ", " ").splitlines()
    more = [f"corpus hash {data.scores['protocol']['corpus_hash']}"]
    items = [element("li", line) for line in [*lines, *more]]
    return section("protocol", SECTIONS["protocol"], element("ul", *items, class_="protocol"))
