"""`seqgen map`: a picture of where sentences lie among the codes of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli import common
from seqgen.cli.latent import opened, some
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.training.load import Trained

MAP = "map.png"
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def draw_map(
    file: Annotated[
        Path | None, typer.Argument(help="Sentences, one a line, or a table; the test split if none.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Colour by these, a label for each line.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Colour by this column of the table.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of the sentences, with --label-column.")
    ] = None,
    method: Annotated[str, typer.Option(help="tsne, pca or umap (where installed).")] = "tsne",
    n: Annotated[int, typer.Option("--n", min=3, help="Sentences at most, drawn by the seed.")] = 2000,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help=f"The picture; {MAP} in the run's folder if not given."),
    ] = None,
    seed: Annotated[int, common.seed_option("Seed of the sentences drawn and of the layout.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw the codes of sentences in the plane, coloured by length or label, and print the picture's path.

    t-SNE and UMAP see the first 50 principal components at most.
    """
    _check_map(file, labels, label_column, column, out)
    found, say = opened(run, device, threads, quiet)
    import random

    from seqgen.core.atomic_files import write_bytes
    from seqgen.inference import latent_map as maps

    if method not in maps.METHODS:
        raise UserError(f"no method '{method}'" + did_you_mean(method, maps.METHODS))
    sentences, names, said = _labelled(found, file, labels, label_column, column)
    rows = sorted(random.Random(seed).sample(range(len(sentences)), k=min(n, len(sentences))))
    shown = [sentences[i] for i in rows]
    said_of = f"{len(shown):,} of {len(sentences):,} sentences of {file or found.corpus.name}"
    say(f"map: {said_of}, {maps.METHODS[method]}")
    colours = maps.by_length(found, shown) if names is None else maps.by_label([names[i] for i in rows], said)
    drawn = maps.latent_map(found, shown, method=method, seed=seed)  # type: ignore[arg-type]
    title = f"codes of {len(shown):,} sentences, {found.run.name}, {maps.METHODS[method]}"
    target = out or found.run.path / MAP
    write_bytes(target, maps.draw(drawn, colours, title=title))
    typer.echo(str(target))


def _check_map(
    file: Path | None, labels: Path | None, label_column: str | None, column: str | None, out: Path | None
) -> None:
    if labels is not None and label_column is not None:
        raise UserError("--labels and --label-column are both given; colour by one of them")
    if file is None and (labels is not None or label_column is not None):
        given = "--labels" if labels is not None else "--label-column"
        raise UserError(f"{given} needs the file of the sentences that the labels are of; name it")
    if column is not None and label_column is None:
        raise UserError("--column goes with --label-column; a text file has no columns")
    if file is not None and file.suffix.lower() in TABLES and label_column is None:
        raise UserError(
            f"'{file}' is a table; name the column of its labels with --label-column, and that of the "
            "sentences with --column"
        )
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"--out '{out}' does not end in .png, the one format drawn")


def _labelled(
    found: "Trained", file: Path | None, labels: Path | None, label_column: str | None, column: str | None
) -> tuple[Sequence[str], list[str] | None, str]:
    """Read the sentences of a map, their labels if there are any, and what these are called."""
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference.latent_map import read_labelled

    if file is None:
        return some(found), None, ""
    if label_column is not None:
        return *read_labelled(file, label_column, column), label_column
    sentences = read_sentences(file, "FILE")
    if labels is None:
        return sentences, None, ""
    names = read_sentences(labels, "--labels")
    if len(names) != len(sentences):
        raise UserError(
            f"--labels '{labels}' has {len(names)} lines and '{file}' {len(sentences)}; "
            "give a label for each line"
        )
    return sentences, names, labels.name
