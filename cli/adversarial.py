"""`seqgen adversarial`: train a discriminator on a generator, or a generator against one."""

from pathlib import Path
from typing import Annotated

import typer

from seqgen.algorithms import GROUPS
from seqgen.cli import common

NAMES = "\b\n" + "\n".join(f"{how}: {', '.join(names)}" for how, names in GROUPS.items())
"""The epilog of the help; a backspace keeps its lines."""


def adversarial(
    algorithm: Annotated[str, typer.Argument(metavar="NAME", help=common.NAME_HELP)] = "residual",
    init: Annotated[
        Path | None, typer.Option(help="The run to start from; the latest that fits if not given.")
    ] = None,
    teacher: common.Teacher = None,
    corpus: common.Corpus = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    label_column: common.LabelColumn = None,
    source_column: common.SourceColumn = None,
    valid: common.Valid = None,
    test: common.Test = None,
    tokenizer: common.Tokenizer = None,
    lowercase: common.Lowercase = False,
    max_vocab: common.MaxVocab = None,
    min_count: common.MinCount = None,
    max_length: common.MaxLength = None,
    run: Annotated[
        Path | None, typer.Option(help="The run folder; runs/ALGORITHM-CORPUS if not given.")
    ] = None,
    settings: common.Set = None,
    config: common.ConfigFile = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of training in steps; the setting steps if not given.")
    ] = None,
    minutes: common.Minutes = None,
    seed: Annotated[int | None, common.seed_option("Seed; that of the run to start from, or 0.")] = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    compile: common.Compile = False,
    quiet: common.Quiet = False,
    trust: common.Trust = False,
    list_settings: common.ListSettings = False,
) -> None:
    """Train a discriminator, and by it a generator. The same command again resumes.

    residual, the default, leaves the generator as it is and samples by both; the others train the generator
    on. Most start from a pretrained run and learn from its corpus; scratchgan starts from a --corpus.
    """
    from seqgen import algorithms

    values = common.gather(config, settings)
    if list_settings:
        common.list_settings(algorithm, algorithms.ADVERSARIAL, values)
    from seqgen.training import setup

    data = common.data_config(
        corpus=corpus,
        column=column,
        encoding=encoding,
        separator=separator,
        label_column=label_column,
        source_column=source_column,
        valid=valid,
        test=test,
        tokenizer=tokenizer,
        lowercase=lowercase,
        max_vocab=max_vocab,
        min_count=min_count,
        max_length=max_length,
    )
    common.run_job(
        lambda: setup.adversarial_job(
            init,
            algorithm,
            data=data,
            path=run,
            teacher=teacher,
            values=values,
            steps=steps,
            minutes=minutes,
            seed=seed,
            device_name=device,
            compile=compile,
            trust=trust,
        ),
        threads=threads,
        quiet=quiet,
        then="seqgen sample --run {run}  or  seqgen evaluate --run {run}",
    )
