"""`seqgen bench`: speed of the package on this machine, against plain implementations and a lower bound."""

import json
from typing import Annotated

import typer

app = typer.Typer(
    help="Measure speed against a naive implementation and a lower bound.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Make `speed` a subcommand even though it is the only one."""


@app.command()
def speed(
    vocab: Annotated[int, typer.Option(min=8, help="Tokens in the vocabulary.")] = 5000,
    length: Annotated[int, typer.Option(min=2, help="Tokens in a sentence.")] = 20,
    embedding: Annotated[int, typer.Option(min=1, help="Dimensions of the token embedding.")] = 32,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units of the recurrent layer.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Sentences in a batch.")] = 64,
    rollouts: Annotated[int, typer.Option(min=1, help="Rollouts of every prefix.")] = 16,
    sentences: Annotated[
        int, typer.Option(min=0, help="Sentences and references for BLEU; 0 skips it.")
    ] = 10_000,
    sentence_vae: Annotated[
        bool, typer.Option(help="Also a sentence-VAE: V 10,000, E 300, H 256, Z 16, B 32, T 10 to 50.")
    ] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Repetitions; the median is reported.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time a pretraining step, sampling, an adversarial update and a sentence-VAE step.

    The reference is the plain loop of published code on the same models; the lower bound (floor) is the time
    of the matrix products with the vocabulary at the speed measured here. Takes a minute or two.
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
