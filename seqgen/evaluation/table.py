"""An evaluation as a plain-text table: real text, the n-gram baseline, the samples, then the protocol."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.evaluation.quality_diversity import BASELINE, REAL

WIDTH = 100
HALF_INTERVAL = "  95 % ±"
HALVES = "halves of the references"
COUNTED = ("distinct", "entropy", "jsd", "ms_jaccard")
"""Metrics that are unknown where there is no n-gram of their order."""


@dataclass(frozen=True)
class Column:
    """A column of the table: its heading, the path of keys to its value, and the format of the value."""

    heading: str
    keys: tuple[str, ...]
    format: str = ".4f"


def _orders(name: str, key: str, orders: range, format: str = ".4f") -> list[Column]:
    return [Column(f"{name}-{n}", (key, str(n)), format) for n in orders]


BLOCKS: dict[str, list[Column]] = {
    "similarity to the references, higher is more similar": [
        *_orders("BLEU", "bleu", range(2, 6)),
        Column("sacreBLEU", ("sacrebleu", "score"), ".2f"),
    ],
    "similarity of the sentences to each other, lower is more diverse": _orders(
        "self-BLEU", "self_bleu", range(2, 6)
    ),
    "diversity: distinct n-grams, unique sentences, and the entropy of n-gram frequencies in nats": [
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
    "copies of training sentences, longest common substring in tokens (real text: the references)": [
        Column("novel", ("novel",)),
        Column("copies", ("copies",), ",d"),
        Column("mean length", ("copying", "longest_mean"), ".3f"),
        Column("max length", ("copying", "longest_max"), "d"),
        Column("overlapping", ("copying", "overlap")),
    ],
    "distance from the references: Jensen-Shannon of n-grams in nats, Fréchet of embeddings × 100": [
        *_orders("JSD", "jsd", range(2, 6)),
        Column("lengths", ("length_distance",), ".3f"),
        Column("Fréchet", ("frechet",), ".3%"),
        Column("MAUVE", ("mauve",), ".3f"),
    ],
    "similarity of the n-gram counts to those of the references, 1 is equal": _orders(
        "MS-Jaccard", "ms_jaccard", range(2, 6)
    ),
    "n-gram language models, nats per token; accuracy of a classifier against references, chance 0.5": [
        Column("LM score", ("lm", "score")),
        Column("perplexity", ("lm", "perplexity"), ".2f"),
        Column("reverse LM", ("lm", "reverse")),
        Column("reverse perplexity", ("lm", "reverse_perplexity"), ".2f"),
        Column("accuracy", ("classifier", "accuracy")),
    ],
    "likelihood under the model: of the test split, and of its own samples (at temperature 1)": [
        Column("test nats/token", ("nll_test",)),
        Column("perplexity", ("likelihood", "test", "perplexity"), ".2f"),
        Column("nats/sentence", ("likelihood", "test", "nats_per_sentence"), ".3f"),
        Column("unknown tokens", ("likelihood", "test", "unknown"), ",d"),
        Column("samples nats/token", ("nll_gen",)),
    ],
    "latents of test sentences: bound and mutual information (MI) in nats; greedy reconstructions": [
        Column("-log p(x|z)", ("latent", "reconstruction"), ".3f"),
        Column("KL", ("latent", "kl"), ".3f"),
        Column("ELBO", ("latent", "elbo"), ".3f"),
        Column("MI", ("latent", "mutual_information"), ".3f"),
        Column("active", ("latent", "active_units"), "d"),
        Column("dims", ("latent", "latent_dim"), "d"),
        Column("sacreBLEU", ("latent", "bleu"), ".2f"),
        Column("shuffled", ("latent", "shuffled_bleu"), ".2f"),
        Column("exact", ("latent", "exact")),
    ],
    "gain of the energy on its generator, nats per test sentence: of the model, of what is sampled": [
        Column("gain", ("residual", "gain")),
        Column("± SE gain", ("residual", "gain_error")),
        Column("sampled", ("residual", "gain_sampled")),
        Column("± SE sampled", ("residual", "gain_sampled_error")),
        Column("candidates", ("residual", "candidates"), "d"),
        Column("effective", ("residual", "effective"), ".3f"),
    ],
    "labels: fraction of the sentences in which a classifier of real text finds the one they were given": [
        Column("accuracy", ("labels", "accuracy")),
        Column("chance", ("labels", "chance")),
    ],
    "greedy answers to test sources, against their references and, shuffled, against those of others": [
        Column("sacreBLEU", ("sources", "bleu"), ".2f"),
        Column("chrF", ("sources", "chrf"), ".2f"),
        Column("exact", ("sources", "exact")),
        Column("shuffled BLEU", ("sources", "shuffled"), ".2f"),
        Column("sources", ("sources", "n"), ",d"),
    ],
    "under the grammar of the corpus, nats per sentence": [
        Column("valid", ("grammar", "valid")),
        Column("samples", ("grammar", "nll"), ".3f"),
        Column("test split", ("grammar", "test_nll"), ".3f"),
        Column("entropy", ("grammar", "entropy"), ".3f"),
        Column("model/entropy", ("grammar", "ratio")),
        Column("KL", ("grammar", "forward_kl")),
        Column("± SE", ("grammar", "standard_errors", "forward_kl")),
        Column("JS", ("grammar", "jensen_shannon"), ".4f"),
    ],
    "under the oracle of the corpus, nats per token; below its entropy is no better than at it": [
        Column("samples", ("oracle", "nll_oracle")),
        Column("entropy", ("oracle", "entropy")),
    ],
    "temperature sweep": [
        Column("BLEU-5", ("bleu_5",)),
        Column("self-BLEU-5", ("self_bleu_5",)),
        Column("LM score", ("lm_score",)),
        Column("reverse LM", ("reverse_lm",)),
    ],
}


def render(results: Mapping[str, Any], name: str) -> str:
    """Format the results of `evaluate` as text, at most 100 columns; `name` labels a single set."""
    sets = results.get("rows") or [{**results, "name": name}]
    rows = {REAL: results["real"], BASELINE: results["baseline"], HALVES: results["reference_halves"]}
    rows |= {each["name"]: each for each in sets}
    for point in results.get("sweep", []):
        label = f"{point['name']} at {point['temperature']:g}"
        rows[label] = {**point, "lm_score": point["lm"], "lm": None}
    kept = {label: row for label, row in rows.items() if row}
    functions = [Column(each, ("functions", each)) for each in results.get("functions", {})]
    named = BLOCKS | {"mean of your functions": functions}
    blocks = [_block(title, columns, kept) for title, columns in named.items()]
    return "\n\n".join([*filter(None, [*blocks, _repeated(sets)]), "\n".join(_protocol(results))])


def _block(title: str, columns: Sequence[Column], rows: Mapping[str, Any]) -> str:
    cells: dict[str, list[str]] = {}
    half_intervals: dict[str, list[str]] = {}
    for label, row in rows.items():
        row_cells = [_cell(row, column) for column in columns]
        if any(row_cells):
            cells[label] = row_cells
            half_intervals[label] = [_half_interval(row, column) for column in columns]
    if not cells:
        return ""
    widths = [max(len(column.heading), 6) for column in columns]
    label_width = min(max(map(len, [*cells, HALF_INTERVAL])), WIDTH - sum(widths) - 2 * len(widths))
    lines = [title, _line("", [column.heading for column in columns], label_width, widths)]
    for label, row in cells.items():
        lines.append(_line(_shorten(label, label_width), [cell or "-" for cell in row], label_width, widths))
        if any(half_intervals[label]):
            lines.append(_line(HALF_INTERVAL, half_intervals[label], label_width, widths))
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
    return "" if value is None else _format(value, column.format)


def _format(value: float, spec: str) -> str:
    return format(value, spec).removesuffix("%")


def _half_interval(row: Mapping[str, Any], column: Column) -> str:
    interval = _value(row, ("intervals", *column.keys))
    spec = ".0f" if column.format.endswith("d") else column.format
    return "" if interval is None else _format((interval[1] - interval[0]) / 2, spec)


def _repeated(sets: Sequence[Mapping[str, Any]]) -> str:
    blocks = []
    for each in sets:
        if each["repeated"]:
            of = f" of {each['name']}" if len(sets) > 1 else ""
            blocks.append(f"most repeated sentences{of}")
        for entry in each["repeated"]:
            text = f"{entry['count']:>6,} × {entry['sentence'] or '(blank)'}"
            blocks.append(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")
    return "\n".join(blocks)


def _protocol(results: Mapping[str, Any]) -> list[str]:
    protocol = results["protocol"]
    blank = f" ({protocol['blank']:,} blank, which score 0)" if protocol["blank"] else ""
    temperature = "not stated" if protocol["temperature"] is None else f"{protocol['temperature']:g}"
    facts = [
        f"protocol {protocol['name']}: N {protocol['n']:,}{blank}",
        f"{protocol['references']:,} references{_source(protocol, 'references_from')}",
        f"{protocol['tokenisation']} tokens, case {protocol['case']}",
        f"temperature {temperature}",
        f"seed {protocol['seed']}",
        f"BLEU: {protocol['bleu']}",
        f"self-BLEU: {protocol['self_bleu']}",
        f"embeddings: {protocol['encoder']}",
        f"LM: {protocol['language_model']} of the references, other words unknown",
    ]
    if protocol["real_n"]:
        source = _source(protocol, "train_from")
        real = f"real text: {protocol['real_n']:,} of {protocol['train']:,} training sentences{source}"
        real += f"; n-gram baseline: {protocol['baseline']}, of the same sentences"
    else:
        real = "real text: not scored; name the training sentences with --train"
    paragraphs = [
        "; ".join(facts),
        real,
        *_missing_orders(results),
        *_model_notes(results),
        f"95 % ±: half the interval; {protocol['intervals']}",
        f"sacrebleu: {results['sacrebleu']['signature']}",
    ]
    return [
        line
        for text in paragraphs
        for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    ]


def _missing_orders(results: Mapping[str, Any]) -> list[str]:
    """Name the metrics of n-grams longer than every sentence that they count."""
    rows = results.get("rows", [results])
    columns = [column for block in BLOCKS.values() for column in block if column.keys[0] in COUNTED]
    missing = [each.heading for each in columns if any(_value(row, each.keys) is None for row in rows)]
    return [f"no n-gram of this order: {', '.join(missing)}"] if missing else []


def _model_notes(results: Mapping[str, Any]) -> list[str]:
    """Note how a likelihood that is not exact was estimated, and which posteriors collapsed."""
    notes = []
    for row in results.get("rows") or [results]:
        of_name = f" of {row['name']}" if "name" in row else ""
        likelihood, latent = row["likelihood"]["test"], row["latent"]
        if likelihood and likelihood["samples"]:
            notes.append(
                f"likelihood{of_name}: importance-weighted, {likelihood['samples']:,} latents for each of "
                f"{likelihood['sentences']:,} test sentences, drawn by the seed"
            )
        if latent and latent["collapsed"]:
            notes.append(
                f"COLLAPSED: the latent{of_name} carries no information (KL {latent['kl']:.3f} nats per "
                "sentence); the decoder is a language model"
            )
    return notes


def _source(protocol: Mapping[str, Any], key: str) -> str:
    return f" ({protocol[key]})" if protocol.get(key) else ""
