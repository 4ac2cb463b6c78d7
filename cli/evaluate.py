"""`seqgen evaluate`: scores of the samples of runs, or of files of sentences, with those of real text."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core import launcher
from seqgen.core.errors import UserError

RUN_SAMPLES = 10_000


def evaluate(
    run: Annotated[
        list[Path] | None, typer.Option(help="The run, or several; the latest under runs/ if not given.")
    ] = None,
    corpus: common.Moved = None,
    hyp: Annotated[
        list[Path] | None,
        typer.Option(help="Score this file, of lines or a table, instead, or several; - is stdin."),
    ] = None,
    ref: Annotated[Path | None, typer.Option(help="With --hyp: the file of references.")] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="With --hyp: the training sentences, for real text, the baseline and copies."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="With --hyp: the text column, if it is a table.")] = None,
    ref_column: Annotated[
        str | None, typer.Option(help="The text column of --ref, if it is a table.")
    ] = None,
    train_column: Annotated[
        str | None, typer.Option(help="The text column of --train, if it is a table.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="With --hyp: its encoding, if it is not UTF-8.")
    ] = None,
    ref_encoding: Annotated[str | None, typer.Option(help="The encoding of --ref.")] = None,
    train_encoding: Annotated[str | None, typer.Option(help="The encoding of --train.")] = None,
    separator: common.Separator = None,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Number of sentences; 10,000 of a run, all of a file, if not given."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.0, help="Sampling temperature, 1 if not given; with --hyp it is only recorded."),
    ] = None,
    temperatures: Annotated[
        str | None, typer.Option(metavar="T,T,…", help="Also sample at these temperatures, for the curve.")
    ] = None,
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
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
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Also the mean of your function of sentences; repeatable.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a run with labels: evaluate this label alone.")
    ] = None,
    nll_sentences: Annotated[
        int | None,
        typer.Option(min=1, help="Latent-variable models: test sentences to estimate the likelihood; 1,000."),
    ] = None,
    nll_samples: Annotated[
        int | None, typer.Option(min=1, help="Latent-variable models: importance samples per sentence; 500.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Plot quality against diversity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Score samples, real text and an n-gram baseline, every score with its 95 % interval.

    BLEU, self-BLEU, diversity, copies, distances, forward and reverse language model scores, a classifier
    two-sample test, likelihood.
    """
    _check(run, hyp, ref, train, n)
    _check_of_files(
        bool(hyp),
        column=column,
        ref_column=ref_column,
        train_column=train_column,
        encoding=encoding,
        ref_encoding=ref_encoding,
        train_encoding=train_encoding,
        separator=separator,
    )
    estimate = {"sentences": nll_sentences, "samples": nll_samples}
    if hyp and label is not None:
        raise UserError("--label is for a run with labels; score a file of the sentences of one label")
    if hyp and any(estimate.values()):
        raise UserError(
            "--nll-sentences and --nll-samples estimate the likelihood of a run; a file has no model"
        )
    options: dict[str, Any] = {
        "n": n,
        "temperature": temperature,
        "seed": seed,
        "protocol": protocol,
        "tokenisation": tokenisation,
        "embeddings": embeddings,
        "encoder": encoder,
        "functions": _functions(metric),
    }
    _check_names(protocol, tokenisation, plot)
    grid = _grid(temperatures, from_files=bool(hyp))
    from seqgen.core import device as devices

    devices.prepare(threads)
    if hyp and ref is not None:
        names = [str(path) for path in hyp]
        given = ((column, encoding), (ref_column, ref_encoding), (train_column, train_encoding))
        notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
        results = evaluate_files(hyp, ref, train, given=given, separator=separator, notify=notify, **options)
    else:
        given = {key: value for key, value in estimate.items() if value is not None}
        options["label"] = label
        names, results = _evaluate_runs(
            run or [None], grid, options, given, device=device, trust=trust, corpus=corpus, quiet=quiet
        )
    if plot is not None and launcher.is_first():
        from seqgen.evaluation import quality_diversity

        quality_diversity.save(quality_diversity.points(results, names[0]), plot, title=_title(results))
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    else:
        from seqgen.evaluation.table import render

        typer.echo(render(results, names[0]))


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


def _check_of_files(are_files: bool, **options: str | None) -> None:
    """Raise UserError for an option that says how files are read, where a run is scored."""
    for name, value in options.items():
        if value is not None and not are_files:
            option = "--" + name.replace("_", "-")
            raise UserError(
                f"{option} {value} says how a file of --hyp, --ref or --train is read; a run knows how its "
                "corpus is, leave it out"
            )


def _check_names(protocol: str, tokenisation: str, plot: Path | None) -> None:
    """Raise UserError for unknown names, before sentences are read or sampled."""
    from seqgen.metrics.protocols import check

    check(protocol, tokenisation)
    common.check_file(plot, ".png", option="--plot")


def _functions(names: Sequence[str] | None) -> list[Any]:
    """Load functions of the user's; UserError where two have the name under which their means stand."""
    from seqgen.core import user_functions

    functions = [user_functions.load(name) for name in names or ()]
    for i, each in enumerate(functions):
        if each.short in [other.short for other in functions[:i]]:
            raise UserError(f"two functions are named '{each.short}'; give one of them another name")
    return functions


def _grid(temperatures: str | None, *, from_files: bool) -> list[float]:
    if temperatures is None:
        return []
    if from_files:
        raise UserError("--temperatures samples sentences, which only a run can; give --run instead of --hyp")
    return sorted(set(common.temperatures(temperatures)))


def _evaluate_runs(
    paths: Sequence[Path | None],
    grid: Sequence[float],
    options: dict[str, Any],
    estimate: dict[str, int],
    *,
    device: str,
    trust: bool,
    corpus: str | None,
    quiet: bool,
) -> tuple[list[str], dict[str, Any]]:
    from seqgen.evaluation.runs import Estimate, evaluate_runs

    runs = [common.load_run(path, device, trust=trust, corpus=corpus) for path in paths]
    n = RUN_SAMPLES if options["n"] is None else options["n"]
    temperature = 1.0 if options["temperature"] is None else options["temperature"]
    names = [str(each.run.path) for each in runs]
    if not quiet:
        listed = ", ".join(names)
        typer.echo(
            f"run: {listed}; {n:,} samples, temperature {temperature:g}, seed {options['seed']}", err=True
        )
    chosen = options | {"n": n, "temperature": temperature, "estimate": Estimate(**estimate)}
    return names, evaluate_runs(runs, temperatures=grid, **chosen)


def evaluate_files(
    hyp: Path | Sequence[Path],
    ref: Path,
    train: Path | None = None,
    *,
    n: int | None = None,
    temperature: float | None = None,
    given: Sequence[tuple[str | None, str | None]] = ((None, None),) * 3,
    separator: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> dict[str, Any]:
    """Score files against references: the first `n` lines of each, or as many as the shortest has.

    `given` are the text columns of `hyp`, `ref` and `train`, if they are tables, and their encodings.
    """
    from seqgen.data.reading import Reading
    from seqgen.evaluation.references import build_references
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.evaluation.text import SentenceSet, compare

    paths = [hyp] if isinstance(hyp, Path) else list(hyp)
    hyp_how, ref_how, train_how = (Reading(column, encoding, separator) for column, encoding in given)
    read = partial(read_sentences, notify=notify)
    sets = [SentenceSet(str(path), read(path, "--hyp", hyp_how)[:n]) for path in paths]
    for each in sets:
        if n is not None and n > len(each.lines):
            raise UserError(
                f"--n {n}: --hyp '{each.name}' has {len(each.lines)} lines; leave --n out to score them all"
            )
    refs = read(ref, "--ref", ref_how)
    train_lines = None if train is None else [line for line in read(train, "--train", train_how) if line]
    names = [each.name for each in sets]
    return compare(
        sets,
        build_references(refs, train_lines, **options),
        provenance={
            "hypotheses_from": names[0] if len(names) == 1 else names,
            "references_from": str(ref),
            "train_from": None if train is None else str(train),
            "temperature": temperature,
        },
    )


def _title(results: dict[str, Any]) -> str:
    protocol = results["protocol"]
    tokens = f"{protocol['tokenisation']} tokens"
    return f"protocol {protocol['name']}, {tokens}, N {protocol['n']:,}, seed {protocol['seed']}"
