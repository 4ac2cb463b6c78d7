"""`seqgen neighbours`: the sentences whose latents are nearest to those of given sentences."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common, latent_common
from seqgen.core.errors import UserError, did_you_mean

METRICS = ("euclidean", "cosine")


def neighbours(
    text: latent_common.Texts = None,
    run: latent_common.Run = None,
    corpus: common.Moved = None,
    file: latent_common.File = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    label: latent_common.Label = None,
    label_column: latent_common.LabelColumn = None,
    among: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Sentences to search; up to 100,000 training sentences if not given."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Neighbours of each sentence.")] = 5,
    metric: Annotated[str, typer.Option(help="Distance: euclidean or cosine.")] = "euclidean",
    seed: latent_common.Seed = 0,
    format: latent_common.Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Find the sentences whose latents are nearest to those of the given sentences.

    The latents of the searched sentences are cached: only the first search is slow.
    """
    latent_common.check_format(format)
    if metric not in METRICS:
        raise UserError(f"no metric '{metric}'" + did_you_mean(metric, METRICS))
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet, corpus)
    from seqgen.data.reading import Reading
    from seqgen.evaluation.references import random_subset
    from seqgen.inference import latent_space
    from seqgen.training.load import alone

    how = Reading(column, encoding, separator, label_column)
    of_queries = how if file is not None or among is None else replace(how, label=None)
    queries = latent_common.read_texts(trained, notify, text, file, of_queries, n=3, seed=seed, label=label)
    if among is not None:
        read = latent_common.read_file(
            trained, among, "--among", how, notify, None if label_column else label
        )
        searched = [each for each in read if alone(trained, each)]
    else:
        searched = random_subset(trained.corpus.train.whole, latent_space.MAX_SEARCHED, seed)
    notify(f"among: {len(searched):,} sentences of {among or trained.corpus.name}")
    found = latent_space.neighbours(trained, queries, searched, n, metric=metric)  # type: ignore[arg-type]
    for query, nearest in zip((alone(trained, each) for each in queries), found, strict=True):
        if format == "text":
            latent_common.print_lines([query, *(f"  {each.distance:.4f}  {each.text}" for each in nearest)])
        else:
            row = {"text": query, "neighbours": [vars(each) for each in nearest]}
            latent_common.print_lines([latent_common.to_json(row)])
