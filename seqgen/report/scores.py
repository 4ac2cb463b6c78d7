"""The parts of a report's page that show what runs are and how they score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.core import settings
from seqgen.evaluation import quality_diversity
from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.evaluation.table import BLOCKS, Column, render
from seqgen.report.charts import Series, chart, key
from seqgen.report.html import Html, element, join, section, table

PARTS = {
    "settings": "Settings",
    "training": "Training",
    "scores": "Scores",
    "tradeoff": "Quality and diversity",
    "samples": "Samples",
    "codes": "Codes",
    "lengths": "Lengths",
    "ngrams": "Most frequent n-grams",
    "protocol": "Protocol",
}
"""The anchors of the parts and their headings, in their order; `codes` only where a run has them."""
GROUPS = {"": "Run", "settings": "Of the algorithm", "source": "Of the corpus"}
"""The parts of a configuration and their headings."""


@dataclass(frozen=True)
class Facts:
    """What the sections are about; the lists hold an entry for each run."""

    names: list[str]
    """as in the scores"""
    labels: list[str]
    """as on the page"""
    hues: list[str]
    configs: list[dict[str, Any]]
    metrics: list[list[dict[str, Any]]]
    scores: dict[str, Any]

    def label(self, name: str) -> str:
        """Say how the page calls what the scores call `name`."""
        return dict(zip(self.names, self.labels, strict=True)).get(name, name)

    def key(self) -> list[tuple[str, str]]:
        """Pair the label of each run with its colour."""
        return list(zip(self.labels, self.hues, strict=True))


def heading(facts: Facts, *, n: int, seed: int, has_codes: bool) -> Html:
    """Say what the page is about, and lead to its parts."""
    about = [
        f"{label}: {config['algorithm']} on {config['source']['corpus']}"
        for label, config in zip(facts.labels, facts.configs, strict=True)
    ]
    shown = {anchor: title for anchor, title in PARTS.items() if anchor != "codes" or has_codes}
    links = [element("a", title, href=f"#{anchor}") for anchor, title in shown.items()]
    return element(
        "header",
        element("h1", "seqgen report"),
        element("ul", *(element("li", each, class_="run") for each in about)),
        element("p", f"{n:,} sentences of each run at each temperature, seed {seed}.", class_="note"),
        element("nav", *links),
    )


def settings_table(facts: Facts) -> Html:
    """Lay out the configuration of every run, a column each; rows that differ are marked."""
    flat = [
        settings.flatten({"run": name} | config)
        for name, config in zip(facts.names, facts.configs, strict=True)
    ]
    groups: dict[str, list[list[str]]] = {title: [] for title in GROUPS.values()}
    for name in dict.fromkeys(name for each in flat for name in each):
        values = [_said(each[name]) if name in each else "–" for each in flat]
        differs = all(name in each for each in flat) and len(set(values)) > 1
        mark = element("span", "differs", class_="badge") if differs else ""
        prefix, _, rest = name.partition(".")
        own = prefix in GROUPS and rest
        groups[GROUPS[prefix if own else ""]].append([join(rest if own else name, mark), *values])
    tables = [
        element("div", table(["", *facts.labels], rows, title=title, class_="settings"))
        for title, rows in groups.items()
        if rows
    ]
    return section("settings", PARTS["settings"], element("div", *tables, class_="groups"))


def _said(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def scores(facts: Facts) -> Html:
    """Lay out every score: real text, the n-gram baseline, each run, the sweep; 95 % intervals beneath."""
    report = facts.scores
    subjects = report.get("rows") or [{**report, "name": facts.names[0]}]
    rows = {REAL: report["real"], BASELINE: report["baseline"]}
    rows |= {facts.label(subject["name"]): subject for subject in subjects}
    for point in report.get("sweep", []):
        rows[f"{facts.label(point['name'])} at {point['temperature']:g}"] = point | {
            "lm_score": point["lm"],
            "lm": None,
        }
    kept = {label: row for label, row in rows.items() if row}
    tables = [_block(title, columns, kept) for title, columns in BLOCKS.items()]
    note = (
        f"Runs at temperature {report['protocol']['temperature']:g}. Beneath a score, its 95 % interval. "
        "Real text is as many training sentences, scored as if they were samples."
    )
    return section("scores", PARTS["scores"], element("p", note, class_="note"), *filter(None, tables))


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> Html | None:
    cells = [[label, *(_cell(row, column) for column in columns)] for label, row in rows.items()]
    used = [i for i in range(len(columns) + 1) if i == 0 or any(row[i] for row in cells)]
    told = [[row[i] or "–" for i in used] for row in cells if any(row[1:])]
    heads = [columns[i - 1].heading if i else "" for i in used]
    return table(heads, told, title=title[0].upper() + title[1:]) if told else None


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value, interval = _value(row, column.keys), _value(row, ("intervals", *column.keys))
    if value is None:
        return ""
    form = ",.0f" if column.form.endswith("d") else column.form
    beneath = (
        [element("small", " – ".join(format(bound, form).removesuffix("%") for bound in interval))]
        if interval
        else []
    )
    return join(format(value, column.form).removesuffix("%"), *beneath)


def _value(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = row
    for each in keys:
        value = value.get(each) if isinstance(value, Mapping) else None
    return value


def tradeoff(facts: Facts) -> Html:
    """Draw the quality–diversity curve of every run, real text and the baseline as points of it."""
    points = quality_diversity.points(facts.scores, facts.names[0])
    hues = dict(zip(facts.names, facts.hues, strict=True)) | {REAL: "real", BASELINE: "baseline"}
    charts = []
    for (across, sign, up, below, beside), title in zip(
        quality_diversity.PANELS, ("BLEU", "Language models"), strict=True
    ):
        lines = [
            _trade(facts.label(name), hues[name], [p for p in points if p["name"] == name], across, sign, up)
            for name in hues
        ]
        charts.append(chart([line for line in lines if line.points], title=title, across=below, up=beside))
    note = (
        "A low temperature writes likelier sentences of less variety; the numbers are temperatures. "
        "A curve nearer the lower left is better at every trade."
    )
    named = [(facts.label(name), hue) for name, hue in hues.items()]
    return section(
        "tradeoff",
        PARTS["tradeoff"],
        element("p", note, class_="note"),
        key(named),
        element("div", *charts, class_="charts pair"),
    )


def _trade(
    label: str, hue: str, points: Sequence[quality_diversity.Point], across: str, sign: int, up: str
) -> Series:
    ordered = sorted(points, key=lambda point: point["temperature"] or 0.0)
    places = [(sign * point[across], point[up]) for point in ordered]
    names = ["" if p["temperature"] is None else f"{p['temperature']:g}" for p in ordered]
    return Series(label, places, hue, names=names)


def protocol(facts: Facts) -> Html:
    """Write out everything that the figures depend on."""
    # The last paragraph of the plain-text table is the protocol, wrapped with an indent.
    lines = render(facts.scores, facts.names[0]).rpartition("\n\n")[2].replace("\n  ", " ").splitlines()
    more = [f"corpus hash {facts.scores['protocol']['corpus_hash']}"]
    items = [element("li", line) for line in [*lines, *more]]
    return section("protocol", PARTS["protocol"], element("ul", *items, class_="protocol"))
