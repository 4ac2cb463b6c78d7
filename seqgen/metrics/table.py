"""An evaluation as aligned plain text: a row for real text, one for the sentences, then the protocol."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100
REAL = "real text"


@dataclass(frozen=True)
class Column:
    """A figure of the report: its heading, the keys that lead to it, how it is written."""

    heading: str
    keys: tuple[str, ...]
    form: str = ".4f"


def _orders(name: str, key: str, orders: range) -> list[Column]:
    return [Column(f"{name}-{n}", (key, str(n))) for n in orders]


BLOCKS: dict[str, list[Column]] = {
    "likeness to the references, higher is nearer": [
        *_orders("BLEU", "bleu", range(2, 6)),
        Column("sacreBLEU", ("sacrebleu", "score"), ".2f"),
    ],
    "likeness of the sentences to each other, lower is more varied": _orders(
        "self-BLEU", "self_bleu", range(2, 6)
    ),
    "variety, and what is new": [
        *_orders("distinct", "distinct", range(1, 5)),
        Column("unique", ("unique",)),
        Column("novel", ("novel",)),
        Column("copies", ("copies",), ",d"),
    ],
    "length in tokens": [
        *(Column(name, ("lengths", name), ".2f") for name in ("mean", "sd")),
        *(Column(name, ("lengths", name), "g") for name in ("min", "5%", "25%", "50%", "75%", "95%", "max")),
        Column("vocabulary", ("vocabulary",), ",d"),
    ],
    "likelihood under the model: of the test split, and of its own samples (at temperature 1)": [
        Column("test nats/token", ("nll_test",)),
        Column("perplexity", ("likelihood", "test", "perplexity"), ".2f"),
        Column("nats/sentence", ("likelihood", "test", "nats_per_sentence"), ".3f"),
        Column("unknown tokens", ("likelihood", "test", "unknown"), ",d"),
        Column("samples nats/token", ("nll_gen",)),
    ],
    "under the grammar of the corpus, nats a sentence": [
        Column("valid", ("grammar", "valid")),
        Column("samples", ("grammar", "nll"), ".3f"),
        Column("test split", ("grammar", "test_nll"), ".3f"),
        Column("entropy", ("grammar", "entropy"), ".3f"),
        Column("model/entropy", ("grammar", "ratio")),
    ],
}


def render(report: Mapping[str, Any], name: str) -> str:
    """Lay out a report of `evaluate` as text, 100 columns at most; `name` heads its sentences' row."""
    rows = {REAL: report["real"]} if report["real"] else {}
    rows[name] = report
    blocks = [_block(title, columns, rows) for title, columns in BLOCKS.items()]
    return "\n\n".join([*filter(None, blocks), "\n".join(_protocol(report))])


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> str:
    cells = {label: [_cell(row, column) for column in columns] for label, row in rows.items()}
    if all(cell == "" for row in cells.values() for cell in row):
        return ""
    widths = [max(len(column.heading), 6) for column in columns]
    label_width = min(max(map(len, rows)), WIDTH - sum(widths) - 2 * len(widths))
    lines = [title, _line("", [column.heading for column in columns], label_width, widths)]
    for label, row in cells.items():
        lines.append(_line(_shorten(label, label_width), [cell or "-" for cell in row], label_width, widths))
    return "\n".join(lines)


def _line(label: str, cells: Sequence[str], label_width: int, widths: Sequence[int]) -> str:
    joined = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{label:<{label_width}}{joined}".rstrip()


def _shorten(label: str, width: int) -> str:
    return label if len(label) <= width else "…" + label[len(label) - width + 1 :]


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value: Any = row
    for key in column.keys:
        value = value.get(key) if value else None
    return "" if value is None else format(value, column.form)


def _protocol(report: Mapping[str, Any]) -> list[str]:
    said = report["protocol"]
    blank = f" ({said['blank']:,} blank, which score 0)" if said["blank"] else ""
    temperature = "not stated" if said["temperature"] is None else f"{said['temperature']:g}"
    facts = [
        f"N {said['n']:,}{blank}",
        f"{said['references']:,} references{_named(said, 'references_from')}",
        f"{said['tokenisation']} tokens, case {said['case']}",
        f"temperature {temperature}",
        f"seed {said['seed']}",
        f"BLEU: mean of NLTK's sentence_bleu with {said['smoothing']}, all references",
        f"self-BLEU: {said['self_bleu']}",
    ]
    if said["real_n"]:
        source = _named(said, "train_from")
        real = f"real text: {said['real_n']:,} of {said['train']:,} training sentences{source}"
    else:
        real = "real text: not scored; name the training sentences with --train"
    paragraphs = ["protocol: " + "; ".join(facts), real, f"sacrebleu: {report['sacrebleu']['signature']}"]
    return [line for text in paragraphs for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def _named(said: Mapping[str, Any], key: str) -> str:
    return f" ({said[key]})" if said.get(key) else ""
