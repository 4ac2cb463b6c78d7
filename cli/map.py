"""`seqgen map`: a 2-D map of the latents of sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli import common, latent_common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.training.load import Trained

MAP = "map.png"
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def draw_map(
    file: Annotated[
        Path | None, typer.Argument(help="Sentences, one per line, or a table; the test split if not given.")
    ] = None,
    run: latent_common.Run = None,
    corpus: common.Moved = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Colour by these labels, one per line.")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Colour by this column of the table; of a run with labels, unless by --label, the labels.",
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="With --label-column: the column of the sentences.")
    ] = None,
    label: latent_common.Label = None,
    method: Annotated[str, typer.Option(help="tsne, pca or umap (if installed).")] = "tsne",
    n: Annotated[
        int, typer.Option("--n", min=3, help="Maximum number of sentences, drawn by the seed.")
    ] = 2000,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help=f"The picture; {MAP} in the run's folder if not given."),
    ] = None,
    seed: Annotated[int, common.seed_option("Seed of the chosen sentences and of the layout.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Plot the latents of sentences in 2-D, coloured by length or label, and print the path of the picture.

    t-SNE and UMAP use at most the first 50 principal components.
    """
    _check_map(file, labels, label_column, column)
    common.check_file(out, ".png")
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet, corpus)
    import random

    from seqgen.core.atomic_files import write_bytes
    from seqgen.inference import latent_map as maps

    if method not in maps.METHODS:
        raise UserError(f"no method '{method}'" + did_you_mean(method, maps.METHODS))
    sentences, labels_of, title_of = _labelled(trained, file, labels, label_column, column, label)
    rows = sorted(random.Random(seed).sample(range(len(sentences)), k=min(n, len(sentences))))
    shown = [sentences[i] for i in rows]
    source = file or trained.corpus.name
    notify(f"map: {len(shown):,} of {len(sentences):,} sentences of {source}, {maps.METHODS[method]}")
    if labels_of is None:
        colours = maps.by_length(trained, shown)
    else:
        colours = maps.by_label([labels_of[i] for i in rows], title_of)
    projection = maps.latent_map(trained, shown, method=method, seed=seed)  # type: ignore[arg-type]
    title = f"latents of {len(shown):,} sentences, {trained.run.name}, {maps.METHODS[method]}"
    target = out or trained.run.writable(MAP)
    write_bytes(target, maps.draw(projection, colours, title=title))
    typer.echo(str(target))


def _check_map(file: Path | None, labels: Path | None, label_column: str | None, column: str | None) -> None:
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


def _labelled(
    trained: "Trained",
    file: Path | None,
    labels: Path | None,
    label_column: str | None,
    column: str | None,
    label: str | None,
) -> tuple[Sequence[str], list[str] | None, str]:
    """Return the sentences of a map, their labels if there are any, and the title of the labels."""
    from seqgen.data.conditions import parted
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference.conditional import has_labels
    from seqgen.inference.latent_map import MAX_LABELS, read_labelled

    if file is None:
        found = latent_common.of_label(trained, latent_common.default_sentences(trained), label)
        own = [parted(each)[0] for each in found] if has_labels(trained) else []
        return found, own if 0 < len(set(own)) <= MAX_LABELS else None, trained.data.label_column or "label"
    if label_column is not None:
        sentences, names = read_labelled(file, label_column, column)
        return _given(trained, sentences, names, label), names, label_column
    sentences = read_sentences(file, "FILE", keep_whitespace=trained.tokenizer.keeps_whitespace)
    if labels is None:
        return latent_common.with_label(trained, sentences, label), None, ""
    names = read_sentences(labels, "--labels")
    if len(names) != len(sentences):
        raise UserError(
            f"--labels '{labels}' has {len(names)} lines and '{file}' {len(sentences)}; "
            "give a label for each line"
        )
    return _given(trained, sentences, names, label), names, labels.name


def _given(trained: "Trained", sentences: list[str], names: list[str], label: str | None) -> list[str]:
    """Put before sentences the label of all, or those that colour them, where the run has labels."""
    from seqgen.data.conditions import joined
    from seqgen.inference.conditional import has_labels

    if label is not None or not has_labels(trained):
        return latent_common.with_label(trained, sentences, label)
    return [joined(name, each) for name, each in zip(names, sentences, strict=True)]
