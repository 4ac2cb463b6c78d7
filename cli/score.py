"""`seqgen score`: the log-probability and the energy of sentences, and how well they tell corrupted ones."""

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.inference.scoring import Auroc, Score
    from seqgen.training.load import Trained

MIXED = 1000
"""Lines of which corrupted copies are made unless --n says otherwise."""


def score(
    file: Annotated[
        Path | None, typer.Argument(help="Sentences, one a line; - is stdin; the test split if none.")
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="The run, with --auroc several; the latest under runs/ if not given."),
    ] = None,
    auroc: Annotated[
        bool, typer.Option("--auroc", help="How well scores tell the lines from corrupted copies of them.")
    ] = False,
    other: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --auroc: also from sentences of this file.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=2, help=f"With --auroc: lines, drawn by the seed; {MIXED:,}.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Codes that estimate a log-probability which is not exact.")
    ] = 50,
    format: Annotated[str, typer.Option("--format", help="tsv or jsonl.")] = "tsv",
    out: Annotated[Path | None, typer.Option(help="A file to write; stdout if not given.")] = None,
    seed: Annotated[int, common.seed_option("Seed of codes, lines and corruptions.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Print the log-probability (nats) and the energy of each line, as far as the run has them.

    The columns of tsv are log_prob, energy, tokens, text. With --auroc, a table: the probability that a
    copy with its words shuffled, its halves swapped or one word replaced is stranger than a real line.
    """
    _check(format, run, auroc, other, n)
    common.check_file(out)
    from seqgen.core import device as devices
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.training import load

    devices.prepare(threads)
    found = [load.load(common.run_or_latest(path), device) for path in run or [None]]
    say = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    corpus = None if file else found[0].corpus
    lines = read_sentences(file, "FILE") if file else list(corpus.test if corpus else ())
    if not lines:
        raise UserError("the corpus of the run has no test sentence to score; name a file of sentences")
    listed = ", ".join(f"{each.run.path} ({each.run.config['algorithm']})" for each in found)
    say(f"run: {listed}; {len(lines):,} lines of {file or f'the test split of {found[0].corpus.name}'}")
    for each in found:
        if each.algorithm.likelihood == "estimated":
            say(f"{each.run.path}: log-probabilities are estimated with {samples} codes a sentence")

    def write(opened: IO[str]) -> None:
        if not auroc:
            from seqgen.inference import scoring

            for each in scoring.score(found[0], lines, samples=samples, seed=seed):
                opened.write((_tsv(each) if format == "tsv" else _json(vars(each))) + "\n")
            return
        rows = _discriminate(found, lines, other, MIXED if n is None else n, samples=samples, seed=seed)
        opened.write(_table(rows) if format == "tsv" else "".join(f"{_json(row)}\n" for row in rows))

    common.write_to(out, write)


def _check(format: str, run: list[Path] | None, auroc: bool, other: Path | None, n: int | None) -> None:
    if format not in ("tsv", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("tsv", "jsonl")))
    if not auroc and len(run or []) > 1:
        raise UserError("--run is given several times, which goes with --auroc; score with one run at a time")
    for option, given in (("--other", other), ("--n", n)):
        if not auroc and given is not None:
            raise UserError(f"{option} goes with --auroc; without it every line is scored as it is")


def _discriminate(
    found: list["Trained"], lines: list[str], other: Path | None, n: int, *, samples: int, seed: int
) -> list[dict[str, Any]]:
    """Return a row for each score of each run: its AUROC of each corruption."""
    from seqgen.evaluation.references import random_subset
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference import scoring

    whole = [line for line in lines if line]
    if len(whole) < 2:
        raise UserError(f"an AUROC of {len(whole)} line says nothing; give a file of some dozens")
    drawn = random_subset(whole, n, seed)
    others = [line for line in read_sentences(other, "--other") if line] if other else []
    copies = scoring.corrupted(drawn, seed=seed, others=others)
    rows = []
    for each in found:
        table = scoring.discriminate(each, drawn, copies, samples=samples, seed=seed)
        for name, cells in table.items():
            row = {"run": str(each.run.path), "score": name, "lines": len(drawn)}
            rows.append(row | {kind: _cell(cell) for kind, cell in cells.items()})
    return rows


def _cell(found: "Auroc") -> dict[str, Any]:
    return {"auroc": found.value, "interval": list(found.interval), "copies": found.copies}


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay out AUROC and half of its 95 % interval, a row for each score of each run."""
    kinds = [key for key in rows[0] if key not in ("run", "score", "lines")]
    labels = [f"{row['run']}, {row['score']}" for row in rows]
    wide = max(map(len, labels))
    title = f"AUROC ± half of the 95 % interval, {rows[0]['lines']:,} lines against copies of them"
    written = [title, " " * wide + "".join(f"  {kind:>12}" for kind in kinds)]
    for label, row in zip(labels, rows, strict=True):
        cells = [row[kind] for kind in kinds]
        halves = [(each["interval"][1] - each["interval"][0]) / 2 for each in cells]
        figures = [f"{each['auroc']:.3f} ± {half:.3f}" for each, half in zip(cells, halves, strict=True)]
        written.append(f"{label:<{wide}}" + "".join(f"  {figure:>13}" for figure in figures))
    return "\n".join(written) + "\n"


def _tsv(found: "Score") -> str:
    figures = ["" if value is None else f"{value:.4f}" for value in (found.log_prob, found.energy)]
    return "\t".join([*figures, str(found.tokens), found.text])


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
