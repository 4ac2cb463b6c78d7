"""`seqgen evaluate`: the scores of runs' samples, or of any files of sentences, beside real text's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError

RUN_SAMPLES = 10_000


def evaluate(
    run: Annotated[
        list[Path] | None, typer.Option(help="The run, or several; the latest under runs/ if not given.")
    ] = None,
    hyp: Annotated[
        list[Path] | None,
        typer.Option(help="Score this file instead, a sentence a line, or several; - is stdin."),
    ] = None,
    ref: Annotated[Path | None, typer.Option(help="With --hyp: the file of references.")] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="With --hyp: the training sentences, for real text, the baseline and copies."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", help="How many sentences: of a run 10,000, of a file all, if not given."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of the draws, 1 if not given; with --hyp only stated.")
    ] = None,
    temperatures: Annotated[
        str | None, typer.Option(metavar="T,T,…", help="Also draw at each of these, for the curve.")
    ] = None,
    seed: Annotated[int, common.seed_option("Seed of every draw.")] = 0,
    protocol: Annotated[
        str, typer.Option(help="seqgen, texygen (the published tables) or sacrebleu.")
    ] = "seqgen",
    tokenisation: Annotated[
        str,
        typer.Option(
            "--tokenisation",
            "--tokenization",
            help="whitespace, treebank, character, 13a; auto: the protocol's for the script.",
        ),
    ] = "auto",
    embeddings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Word vectors (GloVe, word2vec text) for Fréchet.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="sentence-transformers:NAME", help="An encoder for Fréchet.")
    ] = None,
    nll_sentences: Annotated[
        int | None,
        typer.Option(min=1, help="Of a run with codes: test sentences whose likelihood is estimated; 1,000."),
    ] = None,
    nll_samples: Annotated[
        int | None, typer.Option(min=1, help="Of a run with codes: codes of each for the estimate; 500.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw quality against diversity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Score samples beside real text and an n-gram baseline, every score with its 95 % interval.

    BLEU, self-BLEU, variety, copies, distances, language models both ways, a classifier, likelihood.
    """
    _check(run, hyp, ref, train, n)
    estimate = {"sentences": nll_sentences, "samples": nll_samples}
    if hyp and any(estimate.values()):
        raise UserError("--nll-sentences and --nll-samples are of a run's likelihood; a file has none")
    options: dict[str, Any] = {
        "n": n,
        "temperature": temperature,
        "seed": seed,
        "protocol": protocol,
        "tokenisation": tokenisation,
        "embeddings": embeddings,
        "encoder": encoder,
    }
    _check_names(protocol, tokenisation, plot)
    grid = _grid(temperatures, from_files=bool(hyp))
    from seqgen.core import device as devices

    devices.prepare(threads)
    if hyp and ref is not None:
        names = [str(path) for path in hyp]
        report = evaluate_files(hyp, ref, train, **options)
    else:
        given = {key: value for key, value in estimate.items() if value is not None}
        names, report = _evaluate_runs(run or [None], grid, options, given, device=device, quiet=quiet)
    if plot is not None:
        from seqgen.evaluation import quality_diversity

        quality_diversity.save(quality_diversity.points(report, names[0]), plot, title=_title(report))
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        from seqgen.evaluation.table import render

        typer.echo(render(report, names[0]))


def _check(
    run: list[Path] | None, hyp: list[Path] | None, ref: Path | None, train: Path | None, n: int | None
) -> None:
    if bool(hyp) != (ref is not None):
        given, missing = ("--hyp", "--ref") if ref is None else ("--ref", "--hyp")
        raise UserError(f"{given} needs {missing}: give a file of sentences to score and one of references")
    if hyp and run:
        raise UserError("--run and --hyp are both given; score a run, or a file with --hyp and --ref")
    if not hyp and train is not None:
        raise UserError("--train goes with --hyp and --ref; a run knows its own training sentences")
    if n is not None and n < 2:
        raise UserError(f"--n {n}: self-BLEU compares sentences with each other; give at least 2")
    for option, paths in (("--run", run), ("--hyp", hyp)):
        twice = [path for i, path in enumerate(paths or []) if path in (paths or [])[:i]]
        if twice:
            raise UserError(f"{option} '{twice[0]}' is given twice; name each once")


def _check_names(protocol: str, tokenisation: str, plot: Path | None) -> None:
    """Refuse names that nothing has, before sentences are read or drawn."""
    from seqgen.metrics.protocols import check

    check(protocol, tokenisation)
    if plot is not None and plot.suffix.lower() != ".png":
        raise UserError(f"--plot '{plot}' does not end in .png, the one format drawn")


def _grid(temperatures: str | None, *, from_files: bool) -> list[float]:
    if temperatures is None:
        return []
    if from_files:
        raise UserError("--temperatures draws sentences, which only a run can; give --run instead of --hyp")
    return sorted(set(common.temperatures(temperatures)))


def _evaluate_runs(
    paths: Sequence[Path | None],
    grid: Sequence[float],
    options: dict[str, Any],
    estimate: dict[str, int],
    *,
    device: str,
    quiet: bool,
) -> tuple[list[str], dict[str, Any]]:
    from seqgen.evaluation.runs import Estimate, evaluate_runs
    from seqgen.training import load

    found = [load.load(common.run_or_latest(path), device) for path in paths]
    n = RUN_SAMPLES if options["n"] is None else options["n"]
    temperature = 1.0 if options["temperature"] is None else options["temperature"]
    names = [str(each.run.path) for each in found]
    if not quiet:
        listed = ", ".join(names)
        typer.echo(
            f"run: {listed}; {n:,} samples, temperature {temperature:g}, seed {options['seed']}", err=True
        )
    chosen = options | {"n": n, "temperature": temperature, "estimate": Estimate(**estimate)}
    return names, evaluate_runs(found, temperatures=grid, **chosen)


def evaluate_files(
    hyp: Path | Sequence[Path],
    ref: Path,
    train: Path | None = None,
    *,
    n: int | None = None,
    temperature: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score files against another: the first `n` lines of each, else as many as the shortest has."""
    from seqgen.evaluation.references import build_references
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.evaluation.text import SentenceSet, compare

    paths = [hyp] if isinstance(hyp, Path) else list(hyp)
    subjects = [SentenceSet(str(path), read_sentences(path, "--hyp")[:n]) for path in paths]
    for subject in subjects:
        if n is not None and n > len(subject.lines):
            raise UserError(
                f"--n {n}: --hyp '{subject.name}' has {len(subject.lines)} lines; "
                "leave --n out to score them all"
            )
    references = read_sentences(ref, "--ref")
    learned = None if train is None else [line for line in read_sentences(train, "--train") if line]
    names = [subject.name for subject in subjects]
    return compare(
        subjects,
        build_references(references, learned, **options),
        provenance={
            "hypotheses_from": names[0] if len(names) == 1 else names,
            "references_from": str(ref),
            "train_from": None if train is None else str(train),
            "temperature": temperature,
        },
    )


def _title(report: dict[str, Any]) -> str:
    said = report["protocol"]
    return f"protocol {said['name']}, {said['tokenisation']} tokens, N {said['n']:,}, seed {said['seed']}"
