"""`seqgen evaluate`: the scores of a run's samples, or of any file of sentences, beside real text's."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common
from seqgen.errors import UserError

RUN_SAMPLES = 10_000


def evaluate(
    run: Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")] = None,
    hyp: Annotated[
        Path | None, typer.Option(help="Score this file instead, a sentence a line; - is stdin.")
    ] = None,
    ref: Annotated[Path | None, typer.Option(help="With --hyp: the file of references.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="With --hyp: the training sentences, for real, novel and copies.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", help="How many sentences: of a run 10,000, of a file all, if not given."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of the draws, 1 if not given; with --hyp only stated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws and of the choice of real sentences.")] = 0,
    tokenisation: Annotated[
        str,
        typer.Option(
            "--tokenisation",
            "--tokenization",
            help="whitespace, treebank, character, 13a; auto: character for unspaced scripts, else treebank.",
        ),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Score samples beside real text: BLEU, self-BLEU, variety, copies, lengths, likelihood."""
    _check(run, hyp, ref, train, n)
    if hyp is not None and ref is not None:
        name = str(hyp)
        report = evaluate_files(
            hyp, ref, train, n=n, temperature=temperature, seed=seed, tokenisation=tokenisation
        )
    else:
        from seqgen import device as devices
        from seqgen import trained
        from seqgen.metrics.runs import evaluate_run

        _check_tokenisation(tokenisation)
        devices.prepare(threads)
        found = trained.load(common.run_or_latest(run), device)
        name = str(found.run.path)
        count = RUN_SAMPLES if n is None else n
        drawn_at = 1.0 if temperature is None else temperature
        if not quiet:
            typer.echo(f"run: {name}; {count:,} samples, temperature {drawn_at:g}, seed {seed}", err=True)
        report = evaluate_run(found, n=count, temperature=drawn_at, seed=seed, tokenisation=tokenisation)
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        from seqgen.metrics.table import render

        typer.echo(render(report, name))


def _check(run: Path | None, hyp: Path | None, ref: Path | None, train: Path | None, n: int | None) -> None:
    if (hyp is None) != (ref is None):
        given, missing = ("--hyp", "--ref") if ref is None else ("--ref", "--hyp")
        raise UserError(f"{given} needs {missing}: give a file of sentences to score and one of references")
    if hyp is not None and run is not None:
        raise UserError("--run and --hyp are both given; score a run, or a file with --hyp and --ref")
    if hyp is None and train is not None:
        raise UserError("--train goes with --hyp and --ref; a run knows its own training sentences")
    if n is not None and n < 2:
        raise UserError(f"--n {n}: self-BLEU compares sentences with each other; give at least 2")


def _check_tokenisation(name: str) -> None:
    """Refuse an unknown name before the samples are drawn."""
    from seqgen.metrics.tokenise import AUTO, tokeniser

    if name != AUTO:
        tokeniser(name)


def evaluate_files(
    hyp: Path,
    ref: Path,
    train: Path | None = None,
    *,
    n: int | None = None,
    temperature: float | None = None,
    seed: int = 0,
    tokenisation: str = "auto",
) -> dict[str, Any]:
    """Score one file against another; `n` takes the first lines of `hyp`."""
    from seqgen.metrics.evaluation import evaluate as score
    from seqgen.metrics.files import read_sentences

    hyps = read_sentences(hyp, "--hyp")
    if n is not None and n > len(hyps):
        raise UserError(f"--n {n}: --hyp '{hyp}' has {len(hyps)} lines; leave --n out to score them all")
    stated = {
        "hypotheses_from": str(hyp),
        "references_from": str(ref),
        "train_from": None if train is None else str(train),
        "temperature": temperature,
    }
    return score(
        hyps[:n],
        read_sentences(ref, "--ref"),
        None if train is None else [line for line in read_sentences(train, "--train") if line],
        tokenisation=tokenisation,
        seed=seed,
        protocol=stated,
    )
