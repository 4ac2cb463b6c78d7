"""Options and helpers of the commands that use latents: reconstruct, interpolate, neighbours, encode, map."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.data.reading import Reading
    from seqgen.training.load import Trained

Run = Annotated[Path | None, typer.Option(help="The run; the latest with latents if not given.")]
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT…", help="Sentences; some of the test split if not given.")
]
File = Annotated[
    Path | None, typer.Option(help="A file of sentences instead, one per line, or a table; - is stdin.")
]
Label = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a run with labels: the label of the sentences that are given."),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Of a run with labels: the column of a table that has them."),
]
Temperature = Annotated[float, typer.Option(min=0.0, help="Sampling temperature; 0 decodes greedily.")]
Seed = Annotated[int, common.seed_option("Random seed.")]
Format = Annotated[str, typer.Option("--format", help="text or jsonl.")]


def load_with_latents(
    run: Path | None, device: str, threads: int | None, trust: bool, quiet: bool, corpus: str | None = None
) -> tuple["Trained", Callable[[str], None]]:
    """Load a run that has latents and print which it is; returns the run and a function that prints notes."""
    from seqgen.core import device as devices
    from seqgen.inference import latent_space

    devices.prepare(threads)
    trained = common.load_run(run, device, trust=trust, corpus=corpus, with_latents=True)
    latent_space.require_latents(trained)
    notify = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    notify(f"run: {trained.run.path} ({trained.run.config['algorithm']} on {trained.data.corpus})")
    return trained, notify


def check_format(format: str) -> None:
    """Raise UserError for an unknown output format."""
    if format not in ("text", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("text", "jsonl")))


def read_texts(
    trained: "Trained",
    notify: Callable[[str], None],
    given: list[str] | None,
    file: Path | None,
    how: "Reading",
    *,
    n: int,
    seed: int,
    label: str | None = None,
) -> list[str]:
    """Return the sentences given as arguments or in a file, or n of the test split drawn by the seed.

    label: of what is given, or of which sentences of the test split are drawn.
    """
    from seqgen.data.corpus import compose, normalise
    from seqgen.evaluation.references import random_subset
    from seqgen.inference.generate import describe_unknown

    if given and file is not None:
        raise UserError("sentences are given as arguments and with --file; give one of them")
    if file is not None:
        return read_file(trained, file, "--file", how, notify, label)
    if how.label is not None:
        raise UserError("--label-column is for a table; name it with --file, or give --label")
    if not given:
        return random_subset(of_label(trained, default_sentences(trained), label), n, seed)
    if len(normalise(given)) < len(given):
        raise UserError("one of the sentences is blank; give text")
    sentences = [compose(each) for each in given] if trained.tokenizer.keeps_whitespace else normalise(given)
    for sentence in sentences:
        if note := describe_unknown(trained.tokenizer, sentence):
            notify(f"'{sentence}' has {note}")
    return with_label(trained, sentences, label)


def read_file(
    trained: "Trained",
    file: Path,
    option: str,
    how: "Reading",
    notify: Callable[[str], None],
    label: str | None = None,
) -> list[str]:
    """Read a file of sentences, with their white space if the run's tokenizer keeps it, and their labels."""
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference.conditional import require_labels

    if how.label is not None:
        if label is not None:
            raise UserError("--label and --label-column are both given; give one of them")
        require_labels(trained, "--label-column")
    keep = trained.tokenizer.keeps_whitespace
    return with_label(trained, read_sentences(file, option, how, keep_whitespace=keep, notify=notify), label)


def with_label(trained: "Trained", sentences: list[str], label: str | None) -> list[str]:
    """Put a label before sentences, if one is given; UserError where the run has not that one."""
    from seqgen.inference.conditional import labelled

    return sentences if label is None else labelled(trained, sentences, label)


def of_label(trained: "Trained", sentences: Sequence[str], label: str | None) -> Sequence[str]:
    """Return the sentences of a split that have a label, all if none is given; UserError where none has."""
    from seqgen.data.conditions import parted

    if label is None:
        return sentences
    with_label(trained, [], label)
    found = [each for each in sentences if parted(each)[0] == label]
    if not found:
        raise UserError(f"no sentence of the test split has the label '{label}'; give sentences")
    return found


def default_sentences(trained: "Trained") -> Sequence[str]:
    """Return the test split, or the training split if the corpus has no test split."""
    return trained.corpus.test.whole if len(trained.corpus.test) else trained.corpus.train.whole


def to_json(row: dict[str, Any]) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(row, ensure_ascii=False)


def print_lines(lines: Sequence[str]) -> None:
    """Write lines to stdout."""

    def write(file: IO[str]) -> None:
        file.writelines(f"{line}\n" for line in lines)

    common.write_to(None, write)
