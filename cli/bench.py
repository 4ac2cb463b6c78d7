"""`seqgen bench`: how fast the package is, against plain references and the floor, on this machine."""

import json
from typing import Annotated

import typer

app = typer.Typer(help="Measure speed against a naive reference and the floor.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `speed` a command of its own however many there are."""


@app.command()
def speed(
    vocab: Annotated[int, typer.Option(min=8, help="Tokens in the vocabulary.")] = 5000,
    length: Annotated[int, typer.Option(min=2, help="Tokens in a sentence.")] = 20,
    embedding: Annotated[int, typer.Option(min=1, help="Size of a token's embedding.")] = 32,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the recurrent layer.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Sentences in a batch.")] = 64,
    rollouts: Annotated[int, typer.Option(min=1, help="Continuations of every beginning.")] = 16,
    sentences: Annotated[
        int, typer.Option(min=0, help="Sentences and references for BLEU; 0 leaves it out.")
    ] = 10_000,
    sentence_vae: Annotated[
        bool, typer.Option(help="A sentence-VAE: V 10,000, E 300, H 256, Z 16, 32 sentences of 10 to 50.")
    ] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the median counts.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time a pretraining step, sampling, an adversarial update and a sentence-VAE's step.

    The reference is the plain loop of published code on the same models; the floor is the time that the
    products with the vocabulary alone would take at the speed measured here. Takes a minute or two.
    """
    import torch

    from seqgen.bench import speed as bench
    from seqgen.bench.timing import table
    from seqgen.core import device as devices

    devices.prepare(threads)
    place = devices.pick(device)
    sizes = bench.Sizes(vocab, length, embedding, hidden, batch, rollouts)
    rows = bench.run(sizes, place, repeats=repeats)
    if sentence_vae:
        from seqgen.bench import latent

        rows += latent.run(place, repeats=repeats)
    if sentences:
        from seqgen.bench import metrics

        rows += metrics.run(*metrics.corpus(sentences), repeats=repeats)
    about = {
        "sizes": vars(sizes),
        "device": str(place),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repeats": repeats,
    }
    if as_json:
        typer.echo(json.dumps(about | {"rows": [row.as_dict() for row in rows]}))
        return
    typer.echo(
        f"vocabulary {vocab}, length {length}, embedding {embedding}, hidden {hidden}, batch {batch}, "
        f"rollouts {rollouts}; {place}, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}; "
        f"medians of {repeats} interleaved runs or more"
    )
    typer.echo(table(rows))
