"""`seqgen bench speed`: how fast the package is on this machine."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli import common

Threads = Annotated[int, typer.Option(help="CPU threads.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def speed(
    sizes: Annotated[
        str, typer.Option(help="Sizes of the generator, comma-separated: paper, medium, large.")
    ] = "paper",
    cells: Annotated[
        str, typer.Option(help="Kinds of generator, comma-separated: lstm, gru, transformer.")
    ] = "lstm",
    lengths: Annotated[
        str, typer.Option(help="Lengths of its sentences, comma-separated: fixed, varied.")
    ] = "fixed,varied",
    vocab: Annotated[int | None, typer.Option(min=8, help="Tokens in the vocabulary; by size.")] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Tokens in a sentence; by size.")] = None,
    embedding: Annotated[
        int | None, typer.Option(min=1, help="Dimensions of the token embedding; by size.")
    ] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Hidden units of a layer; by size.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sentences in a batch; 64.")] = None,
    rollouts: Annotated[int | None, typer.Option(min=1, help="Rollouts of every prefix; by size.")] = None,
    naive: Annotated[
        bool, typer.Option(help="Also the plain loops, of sentences of a fixed length, an LSTM and 'paper'.")
    ] = True,
    sentences: Annotated[
        int, typer.Option(min=0, help="Sentences and references for BLEU; 0 skips it.")
    ] = 10_000,
    sentence_vae: Annotated[
        bool, typer.Option(help="Also a sentence-VAE: V 10,000, E 300, H 256, Z 16, B 32, T 10 to 50.")
    ] = True,
    default_step: Annotated[
        bool, typer.Option(help="Also a step of seqgen pretrain's defaults, beside plain PyTorch.")
    ] = True,
    discriminators: Annotated[
        bool, typer.Option(help="Also an update of each discriminator, and what batches cost a step.")
    ] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Repetitions; the median is reported.")] = 3,
    threads: Threads = 1,
    device: common.Device = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="A folder whose results.json keeps rows by instruction set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time a pretraining step, sampling, an adversarial update and a sentence-VAE step.

    The reference is the plain loop of published code on the same models; the lower bound (floor) is the time
    of all matrix products of the task, and of the passes of its draws, at the speed measured here. Takes a
    minute or two; all sizes and cells take half an hour.
    """
    import torch

    from seqgen.bench import speed as bench
    from seqgen.bench import speed_results as results
    from seqgen.bench.timing import table
    from seqgen.core import device as devices

    kinds = product(
        common.chosen("size", sizes, tuple(bench.SIZES)),
        common.chosen("cell", cells, bench.CELLS),
        common.chosen("kind of lengths", lengths, bench.LENGTHS),
    )
    file = None if out is None else out / "results.json"
    kept = {} if file is None else results.read(file)
    devices.prepare(threads)
    place = devices.pick(device)
    given = {
        "vocab": vocab,
        "length": length,
        "embedding": embedding,
        "hidden": hidden,
        "batch": batch,
        "rollouts": rollouts,
    }
    own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    rows = []
    for size, cell, each in kinds:
        rows += bench.run(
            replace(bench.SIZES[size], **own),
            place,
            cell=cell,
            lengths=each,
            with_naive=naive and (size, cell) == ("paper", "lstm"),
            repeats=repeats,
        )
        typer.echo(f"measured: {size} {cell}, {each} lengths", err=True)
    if sentence_vae:
        from seqgen.bench import latent

        rows += latent.run(place, repeats=repeats)
    if default_step:
        from seqgen.bench import default_step as steps

        rows += steps.run(place, repeats=repeats)
    if discriminators:
        from seqgen.bench import discriminators as updates
        from seqgen.bench import loading

        rows += updates.run(place, repeats=repeats) + loading.run(place, repeats=repeats)
    if sentences:
        from seqgen.bench import metrics

        rows += metrics.run(*metrics.corpus(sentences), repeats=repeats)
    about = {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": str(place),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repeats": repeats,
        "options": own,
    }
    kept = results.add(kept, rows, about)
    if file is not None:
        results.write(file, kept)
    if as_json:
        typer.echo(json.dumps(about | {"rows": [row.as_dict() for row in rows]}))
        return
    typer.echo(
        f"{about['instructions']}, {place}, {threads} thread{'s' * (threads > 1)}, "
        f"torch {torch.__version__}; models by vocabulary / units / tokens; "
        f"medians of {repeats} interleaved runs or more"
    )
    typer.echo(table(rows))
    typer.echo("\n".join(results.elsewhere(kept, about["instructions"])))
