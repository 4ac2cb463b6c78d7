"""Model cards in Markdown: what a run is, the numbers that were measured of it, and how it is used."""

from collections.abc import Mapping
from typing import Any

from seqgen.core.errors import UserError
from seqgen.core.printable import printable
from seqgen.training.data_config import short_name
from seqgen.training.load import Trained

SCORES = {
    "BLEU-5": ("bleu", "5"),
    "self-BLEU-5, lower is more diverse": ("self_bleu", "5"),
    "unique sentences": ("unique",),
    "sentences that are not in the training set": ("novel",),
    "accuracy of a classifier against real text, chance .5": ("classifier", "accuracy"),
    "language-model score, nats a token": ("lm", "score"),
    "reverse language-model score, nats a token": ("lm", "reverse"),
    "negative log-likelihood of the test split, nats a token": ("nll_test",),
    "valid under the grammar of the corpus": ("grammar", "valid"),
}
"""Numbers of `seqgen evaluate --json` that a card shows, and their keys."""
REPORTED = {
    "step": "step of the report",
    "valid_nll": "negative log-likelihood of the validation split, nats a token",
    "valid_ppl": "perplexity of the validation split",
    "valid_elbo": "evidence lower bound of the validation split, nats a sentence",
    "valid_kl": "KL of posterior and prior on the validation split, nats a sentence",
    "unique": "unique sentences among samples",
    "sample_nll": "negative log-likelihood of samples, nats a token",
}
"""Metrics of a training's report that a card shows, and what they are."""
PLACES = 4
"""Significant digits of the numbers of a card."""


def of_run(trained: Trained, scores: Mapping[str, Any] | None = None) -> str:
    """Return the card of a run as the hub has it, with the numbers of an evaluation where there are any."""
    head = ["---", "library_name: seqgen", "pipeline_tag: text-generation", "tags:", "- seqgen"]
    head += [f"- {trained.run.config['algorithm']}", "---", ""]
    use = [
        "## Use",
        "",
        "The folder is a run of seqgen:",
        "",
        "```",
        "seqgen sample --run . --n 5",
        "```",
        "",
        "The tokenizer loads with `transformers.AutoTokenizer.from_pretrained`. It adds no `<s>` and `</s>`,",
        "which begin and end each sentence. The weights are of networks of seqgen, and of no class of",
        "transformers.",
    ]
    lines = [
        *head,
        *_about(trained),
        *_numbers(trained),
        *([] if scores is None else _evaluated(trained, scores)),
        *use,
    ]
    return "\n".join(lines) + "\n"


def of_step(trained: Trained, described: Mapping[str, Any]) -> str:
    """Return the card of a step model, which `export.describe` describes."""
    begin, end = described["bos_token_id"], described["eos_token_id"]
    use = [
        "## Use",
        "",
        f"`model.onnx` reads `token`, int64 (batch,), first {begin}, and the state before it, which begins",
        "as zeros with 0 for the size `past`. It gives `log_probs`, float32 (batch, vocabulary), and the",
        f"state after. A sentence ends with {end}. `config.json` has the shape of each part of the state,",
        "the special tokens and, where there are labels, their tokens: one of them stands between",
        f"{begin} and the sentence.",
    ]
    return "\n".join([*_about(trained), *_numbers(trained), *use]) + "\n"


def _about(trained: Trained) -> list[str]:
    config = trained.run.config
    sizes, generator = config.get("sizes") or {}, config["settings"].get("generator") or {}
    kind = str(generator.get("cell") or generator.get("kind") or "").replace("-", " ")
    parameters = sum(each.numel() for each in trained.algorithm.parameters())
    facts = {
        "algorithm": config["algorithm"],
        "generator": kind,
        "parameters, all networks": f"{parameters:,}",
        "corpus": f"{short_name(trained.data.corpus)}, {sizes.get('train', 0):,} training sentences",
        "corpus hash": config["corpus_hash"],
        "tokenizer": f"{trained.tokenizer.kind}, {config['vocab_size']:,} tokens",
        "trained with": f"seqgen {config.get('seqgen')}, torch {config.get('torch')}, seed {config['seed']}",
    }
    title = f"# {_cell(trained.run.name)}"
    return [title, "", "A small text generator trained with seqgen.", "", *_table(facts)]


def _numbers(trained: Trained) -> list[str]:
    """State the report whose weights these are: the best one, where the algorithm keeps the best."""
    rows, monitor = trained.run.metrics(), trained.algorithm.monitor
    if not rows:
        return []
    judged = [row for row in rows if monitor in row] if monitor else []
    best = min(judged, key=lambda row: row[monitor]) if judged else rows[-1]
    facts = {title: _number(best[name]) for name, title in REPORTED.items() if name in best}
    return ["## Measured in training", "", *_table(facts)]


def _evaluated(trained: Trained, scores: Mapping[str, Any]) -> list[str]:
    row = _row_of(trained, scores)
    protocol, intervals = scores["protocol"], row.get("intervals", {})
    facts = {}
    for title, keys in SCORES.items():
        value, interval = _at(row, keys), _at(intervals, keys)
        if isinstance(value, int | float):
            bounds = f" ({_number(interval[0])} to {_number(interval[1])})" if interval else ""
            real = _at(scores.get("real") or {}, keys)
            beside = f"; real text {_number(real)}" if isinstance(real, int | float) else ""
            facts[title] = f"{_number(value)}{bounds}{beside}"
    how = f"{protocol['n']:,} samples at temperature {protocol['temperature']:g}, seed {protocol['seed']}"
    return ["## Evaluation", "", f"`seqgen evaluate`, {how}, with 95 % intervals:", "", *_table(facts)]


def _row_of(trained: Trained, scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores of a run; UserError where they are not those of an evaluation of it."""
    protocol = scores.get("protocol")
    if not isinstance(protocol, dict) or protocol.get("corpus_hash") != trained.run.config["corpus_hash"]:
        raise UserError(
            f"the scores are not of a run on the corpus of '{trained.run.path}'; give what "
            "'seqgen evaluate --json' prints of it"
        )
    rows = scores.get("rows")
    if not rows:
        return scores
    found = [row for row in rows if row.get("name") in (str(trained.run.path), trained.run.name)]
    if not found:
        raise UserError(f"the scores are of several runs, and '{trained.run.path}' is none of them")
    return found[0]


def _at(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = row
    for each in keys:
        value = value.get(each) if isinstance(value, Mapping) else None
    return value


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.{PLACES}g}"


def _table(facts: Mapping[str, str]) -> list[str]:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items() if value]
    return ["| | |", "|---|---|", *rows, ""]


def _cell(text: str) -> str:
    """Return text as a cell of a table, its control characters and marks of Markdown written out."""
    shown = printable(" ".join(str(text).split()))
    return "".join(f"\\{each}" if each in "|<>[]`*_\\" else each for each in shown)
