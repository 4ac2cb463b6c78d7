"""An evaluation as aligned plain text: real text, the n-gram baseline, the sentences, then the protocol."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.evaluation.quality_diversity import BASELINE, REAL

WIDTH = 100
SPREAD = "  95 % ±"
HALVES = "halves of the references"


@dataclass(frozen=True)
class Column:
    """A figure of the report: its heading, the keys that lead to it, how it is written."""

    heading: str
    keys: tuple[str, ...]
    form: str = ".4f"


def _orders(name: str, key: str, orders: range, form: str = ".4f") -> list[Column]:
    return [Column(f"{name}-{n}", (key, str(n)), form) for n in orders]


BLOCKS: dict[str, list[Column]] = {
    "likeness to the references, higher is nearer": [
        *_orders("BLEU", "bleu", range(2, 6)),
        Column("sacreBLEU", ("sacrebleu", "score"), ".2f"),
    ],
    "likeness of the sentences to each other, lower is more varied": _orders(
        "self-BLEU", "self_bleu", range(2, 6)
    ),
    "variety: n-grams different from each other, sentences, and the entropy of n-grams in nats": [
        *_orders("distinct", "distinct", range(1, 5)),
        Column("unique", ("unique",)),
        *_orders("H", "entropy", range(1, 5), ".3f"),
    ],
    "words, and length in tokens": [
        Column("words", ("vocabulary",), ",d"),
        Column("of refs", ("coverage",)),
        Column("Zipf", ("zipf",), ".3f"),
        *(Column(name, ("lengths", name), ".2f") for name in ("mean", "sd")),
        *(Column(name, ("lengths", name), "g") for name in ("min", "5%", "50%", "95%", "max")),
    ],
    "copies of training sentences, longest run shared with one, in tokens (real text: the references)": [
        Column("novel", ("novel",)),
        Column("copies", ("copies",), ",d"),
        Column("mean run", ("copying", "longest_mean"), ".3f"),
        Column("longest", ("copying", "longest_max"), "d"),
        Column("overlapping", ("copying", "overlap")),
    ],
    "distance from the references: Jensen-Shannon of n-grams in nats, Fréchet of embeddings × 100": [
        *_orders("JSD", "jsd", range(2, 6)),
        Column("lengths", ("length_distance",), ".3f"),
        Column("Fréchet", ("frechet",), ".3%"),
    ],
    "likeness of the n-gram counts to the references', 1 is the same": _orders(
        "MS-Jaccard", "ms_jaccard", range(2, 6)
    ),
    "n-gram language models, nats a token; accuracy of a classifier against references, chance 0.5": [
        Column("LM score", ("lm", "score")),
        Column("perplexity", ("lm", "perplexity"), ".2f"),
        Column("reverse LM", ("lm", "reverse")),
        Column("perplexity", ("lm", "reverse_perplexity"), ".2f"),
        Column("accuracy", ("classifier", "accuracy")),
    ],
    "likelihood under the model: of the test split, and of its own samples (at temperature 1)": [
        Column("test nats/token", ("nll_test",)),
        Column("perplexity", ("likelihood", "test", "perplexity"), ".2f"),
        Column("nats/sentence", ("likelihood", "test", "nats_per_sentence"), ".3f"),
        Column("unknown tokens", ("likelihood", "test", "unknown"), ",d"),
        Column("samples nats/token", ("nll_gen",)),
    ],
    "codes of test sentences: bound and information in nats; greedy reconstructions from them": [
        Column("-log p(x|z)", ("latent", "reconstruction"), ".3f"),
        Column("KL", ("latent", "kl"), ".3f"),
        Column("ELBO", ("latent", "elbo"), ".3f"),
        Column("information", ("latent", "mutual_information"), ".3f"),
        Column("active", ("latent", "active_units"), "d"),
        Column("units", ("latent", "units"), "d"),
        Column("sacreBLEU", ("latent", "bleu"), ".2f"),
        Column("exact", ("latent", "exact")),
    ],
    "under the grammar of the corpus, nats a sentence": [
        Column("valid", ("grammar", "valid")),
        Column("samples", ("grammar", "nll"), ".3f"),
        Column("test split", ("grammar", "test_nll"), ".3f"),
        Column("entropy", ("grammar", "entropy"), ".3f"),
        Column("model/entropy", ("grammar", "ratio")),
    ],
    "temperature sweep": [
        Column("BLEU-5", ("bleu_5",)),
        Column("self-BLEU-5", ("self_bleu_5",)),
        Column("LM score", ("lm_score",)),
        Column("reverse LM", ("reverse_lm",)),
    ],
}


def render(report: Mapping[str, Any], name: str) -> str:
    """Lay out a report of `evaluate` as text, 100 columns at most; `name` heads the row of a single set."""
    subjects = report.get("rows") or [{**report, "name": name}]
    rows = {REAL: report["real"], BASELINE: report["baseline"], HALVES: report["floor"]}
    rows |= {subject["name"]: subject for subject in subjects}
    for point in report.get("sweep", []):
        label = f"{point['name']} at {point['temperature']:g}"
        rows[label] = {**point, "lm_score": point["lm"], "lm": None}
    kept = {label: row for label, row in rows.items() if row}
    blocks = [_block(title, columns, kept) for title, columns in BLOCKS.items()]
    return "\n\n".join([*filter(None, [*blocks, _repeated(subjects)]), "\n".join(_protocol(report))])


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> str:
    cells: dict[str, list[str]] = {}
    spreads: dict[str, list[str]] = {}
    for label, row in rows.items():
        found = [_cell(row, column) for column in columns]
        if any(found):
            cells[label] = found
            spreads[label] = [_spread(row, column) for column in columns]
    if not cells:
        return ""
    widths = [max(len(column.heading), 6) for column in columns]
    label_width = min(max(map(len, [*cells, SPREAD])), WIDTH - sum(widths) - 2 * len(widths))
    lines = [title, _line("", [column.heading for column in columns], label_width, widths)]
    for label, row in cells.items():
        lines.append(_line(_shorten(label, label_width), [cell or "-" for cell in row], label_width, widths))
        if any(spreads[label]):
            lines.append(_line(SPREAD, spreads[label], label_width, widths))
    return "\n".join(lines)


def _line(label: str, cells: Sequence[str], label_width: int, widths: Sequence[int]) -> str:
    joined = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{label:<{label_width}}{joined}".rstrip()


def _shorten(label: str, width: int) -> str:
    return label if len(label) <= width else "…" + label[len(label) - width + 1 :]


def _value(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = row
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _cell(row: Mapping[str, Any], column: Column) -> str:
    value = _value(row, column.keys)
    return "" if value is None else _written(value, column.form)


def _written(value: float, form: str) -> str:
    return format(value, form).removesuffix("%")


def _spread(row: Mapping[str, Any], column: Column) -> str:
    interval = _value(row, ("intervals", *column.keys))
    form = ".0f" if column.form.endswith("d") else column.form
    return "" if interval is None else _written((interval[1] - interval[0]) / 2, form)


def _repeated(subjects: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for subject in subjects:
        if subject["repeated"]:
            of = f" of {subject['name']}" if len(subjects) > 1 else ""
            blocks.append(f"most repeated sentences{of}")
        for entry in subject["repeated"]:
            text = f"{entry['count']:>6,} × {entry['sentence'] or '(blank)'}"
            blocks.append(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")
    return "\n".join(blocks)


def _protocol(report: Mapping[str, Any]) -> list[str]:
    said = report["protocol"]
    blank = f" ({said['blank']:,} blank, which score 0)" if said["blank"] else ""
    temperature = "not stated" if said["temperature"] is None else f"{said['temperature']:g}"
    facts = [
        f"protocol {said['name']}: N {said['n']:,}{blank}",
        f"{said['references']:,} references{_named(said, 'references_from')}",
        f"{said['tokenisation']} tokens, case {said['case']}",
        f"temperature {temperature}",
        f"seed {said['seed']}",
        f"BLEU: {said['bleu']}",
        f"self-BLEU: {said['self_bleu']}",
        f"embeddings: {said['encoder']}",
        f"LM: {said['language_model']} of the references, the rest unknown",
    ]
    if said["real_n"]:
        source = _named(said, "train_from")
        real = f"real text: {said['real_n']:,} of {said['train']:,} training sentences{source}"
        real += f"; n-gram baseline: {said['baseline']}, of the same"
    else:
        real = "real text: not scored; name the training sentences with --train"
    paragraphs = [
        "; ".join(facts),
        real,
        *_models(report),
        f"95 % ±: half the interval; {said['intervals']}",
        f"sacrebleu: {report['sacrebleu']['signature']}",
    ]
    return [line for text in paragraphs for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def _models(report: Mapping[str, Any]) -> list[str]:
    """Say of each model how its likelihood was estimated where it is not exact, and whether it collapsed."""
    said = []
    for subject in report.get("rows") or [report]:
        whose = f" of {subject['name']}" if "name" in subject else ""
        found, latent = subject["likelihood"]["test"], subject["latent"]
        if found and found["samples"]:
            said.append(
                f"likelihood{whose}: importance-weighted, {found['samples']:,} codes each of "
                f"{found['sentences']:,} test sentences, drawn by the seed"
            )
        if latent and latent["collapsed"]:
            said.append(
                f"COLLAPSED: the code{whose} tells nothing (KL {latent['kl']:.3f} nats a sentence); "
                "the decoder is a language model"
            )
    return said


def _named(said: Mapping[str, Any], key: str) -> str:
    return f" ({said[key]})" if said.get(key) else ""
