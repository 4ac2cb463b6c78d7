"""`seqgen pretrain`: train a likelihood model on a corpus."""

from pathlib import Path
from typing import Annotated

import typer

from seqgen.cli import common


def pretrain(
    algorithm: Annotated[str, typer.Argument(help="What to train.")] = "mle",
    corpus: Annotated[
        str,
        typer.Option(
            help="A built-in name, a file (.txt .csv .tsv .jsonl .parquet, or .gz), a folder, - or hf:NAME."
        ),
    ] = "scenes",
    column: Annotated[str | None, typer.Option(help="The text column of a table.")] = None,
    valid: Annotated[str | None, typer.Option(help="A file held out for validation.")] = None,
    test: Annotated[str | None, typer.Option(help="A file held out for the final measure.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="A run on another corpus to start from; its words are kept.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="auto, word, character, bpe, byte, or a run or file to take it from.")
    ] = "auto",
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Fold the case of the words.")] = False,
    max_vocab: Annotated[int | None, typer.Option(min=5, help="Largest vocabulary.")] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="Rarer words become unknown; 3 or less if not given.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens a sentence, end included.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/ALGORITHM-CORPUS if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: common.Steps = None,
    epochs: common.Epochs = None,
    seed: Annotated[int, common.seed_option("Seed of the splits, the weights and the batches.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train a generator by maximum likelihood. The same command again resumes."""
    from seqgen import algorithms

    if list_settings:
        common.list_settings(algorithm, algorithms.PRETRAIN)
    from seqgen.training import setup

    source = setup.Source(
        corpus=corpus,
        column=column,
        valid=valid,
        test=test,
        tokenizer=tokenizer,
        lowercase=lowercase,
        max_vocab=max_vocab,
        min_count=min_count,
        max_length=max_length,
    )
    common.run_job(
        lambda: setup.pretrain_job(
            source,
            algorithm,
            path=run,
            init=init,
            values=common.gather(config, settings),
            steps=steps,
            epochs=epochs,
            seed=seed,
            device_name=device,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen sample --run {run}  or  seqgen adversarial "
        + ("--init {run}" if algorithm == "mle" else "aegan --init {run}"),
    )
