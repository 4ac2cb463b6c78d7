"""`seqgen score`: log-probability and energy of sentences, and how well they detect corrupted sentences."""

import json
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.inference.scoring import Score
    from seqgen.metrics.auroc import Auroc
    from seqgen.training.load import Trained

AUROC_LINES = 1000
"""Default number of lines to corrupt."""


def score(
    file: Annotated[
        Path | None,
        typer.Argument(help="Sentences, one per line, or a table; - is stdin; the test split if not given."),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="The run, with --auroc several; the latest under runs/ if not given."),
    ] = None,
    corpus: common.Moved = None,
    auroc: Annotated[
        bool,
        typer.Option("--auroc", help="Measure how well the scores detect corrupted copies of the lines."),
    ] = False,
    other: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --auroc: also detect the sentences of this file."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=2, help=f"With --auroc: number of lines, drawn by the seed; {AUROC_LINES:,}."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Importance samples to estimate a log-probability that is not exact.")
    ] = 50,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a run with labels: the label of all these lines.")
    ] = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    format: Annotated[str, typer.Option("--format", help="tsv or jsonl.")] = "tsv",
    out: Annotated[Path | None, typer.Option(help="A file to write; stdout if not given.")] = None,
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Print the log-probability (nats) and the energy of each line, if the run has them.

    The columns of tsv are log_prob, energy, tokens, text, in which a tab is \\t and a line end \\n. --auroc
    prints a table: the probability that a copy with shuffled words, swapped halves or one replaced word has a
    more anomalous score than a real line.
    """
    _check(format, run, auroc, other, n)
    common.check_file(out)
    from seqgen.core import device as devices
    from seqgen.data.reading import Reading
    from seqgen.evaluation.sentence_files import read_sentences

    devices.prepare(threads)
    runs = [common.load_run(path, device, trust=trust, corpus=corpus) for path in run or [None]]
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    read = partial(
        read_sentences,
        how=Reading(column, encoding, separator),
        keep_whitespace=runs[0].tokenizer.keeps_whitespace,
        notify=notify,
    )
    lines = read(file, "FILE") if file else list(runs[0].corpus.test.whole)
    if label is not None:
        lines = _labelled(runs, lines, label, of_file=file is not None)
    if not lines:
        raise UserError("the corpus of the run has no test sentence to score; name a file of sentences")
    listed = ", ".join(f"{each.run.path} ({each.run.config['algorithm']})" for each in runs)
    notify(f"run: {listed}; {len(lines):,} lines of {file or f'the test split of {runs[0].corpus.name}'}")
    for each in runs:
        if each.algorithm.likelihood == "estimated":
            notify(f"{each.run.path}: log-probabilities are estimated with {samples} latents per sentence")

    def write(opened: IO[str]) -> None:
        if not auroc:
            from seqgen.inference import scoring

            for each in scoring.score(runs[0], lines, samples=samples, seed=seed):
                opened.write((_tsv(each) if format == "tsv" else _json(vars(each))) + "\n")
            return
        others = read(other, "--other") if other else []
        rows = _auroc_rows(runs, lines, others, AUROC_LINES if n is None else n, samples=samples, seed=seed)
        opened.write(_table(rows) if format == "tsv" else "".join(f"{_json(row)}\n" for row in rows))

    common.write_to(out, write)


def _labelled(runs: list["Trained"], lines: list[str], label: str, *, of_file: bool) -> list[str]:
    """Put a label before the lines of a file, or leave out the lines of a test split that have another."""
    from seqgen.data.conditions import parted
    from seqgen.inference.conditional import labelled

    with_label = [labelled(trained, lines if of_file else [], label) for trained in runs]
    return with_label[0] if of_file else [each for each in lines if parted(each)[0] == label]


def _check(format: str, run: list[Path] | None, auroc: bool, other: Path | None, n: int | None) -> None:
    if format not in ("tsv", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("tsv", "jsonl")))
    if not auroc and len(run or []) > 1:
        raise UserError("--run is given several times, which needs --auroc; score with one run at a time")
    for option, given in (("--other", other), ("--n", n)):
        if not auroc and given is not None:
            raise UserError(f"{option} needs --auroc; without it every line is scored unchanged")


def _auroc_rows(
    runs: list["Trained"], lines: list[str], others: list[str], n: int, *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """Return a row for each score of each run: its AUROC for each corruption."""
    from seqgen.evaluation.references import random_subset
    from seqgen.inference import scoring

    not_blank = [line for line in lines if line]
    if len(not_blank) < 2:
        raise UserError(
            f"an AUROC of {len(not_blank)} line has no meaning; give a file of at least some dozens"
        )
    drawn = random_subset(not_blank, n, seed)
    corruptions = scoring.corrupted(drawn, seed=seed, others=[line for line in others if line])
    counts = {name: sum(copy is not None for copy in copies) for name, copies in corruptions.items()}
    rows = []
    for each in runs:
        table = scoring.measure_auroc(each, drawn, corruptions, samples=samples, seed=seed)
        for score_name, cells in table.items():
            row = {"run": str(each.run.path), "score": score_name, "lines": len(drawn)}
            rows.append(row | {name: _cell(cell, counts[name]) for name, cell in cells.items()})
    return rows


def _cell(auroc: "Auroc", copies: int) -> dict[str, Any]:
    return {"auroc": auroc.value, "interval": list(auroc.interval), "copies": copies}


def _table(rows: list[dict[str, Any]]) -> str:
    """Format AUROC and half of its 95 % interval, a row for each score of each run."""
    corruptions = [key for key in rows[0] if key not in ("run", "score", "lines")]
    labels = [f"{row['run']}, {row['score']}" for row in rows]
    width = max(map(len, labels))
    title = f"AUROC ± half of the 95 % interval, {rows[0]['lines']:,} lines against corrupted copies"
    table = [title, " " * width + "".join(f"  {name:>12}" for name in corruptions)]
    for label, row in zip(labels, rows, strict=True):
        cells = [row[name] for name in corruptions]
        halves = [(each["interval"][1] - each["interval"][0]) / 2 for each in cells]
        texts = [f"{each['auroc']:.3f} ± {half:.3f}" for each, half in zip(cells, halves, strict=True)]
        table.append(f"{label:<{width}}" + "".join(f"  {text:>13}" for text in texts))
    return "\n".join(table) + "\n"


def _tsv(score: "Score") -> str:
    values = ["" if value is None else f"{value:.4f}" for value in (score.log_prob, score.energy)]
    text = score.text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return "\t".join([*values, str(score.tokens), text])


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
