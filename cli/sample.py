"""`seqgen sample`: write sentences."""

import json
from pathlib import Path
from typing import IO, Annotated

import typer

from seqgen.cli import common


def sample(
    run: Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")] = None,
    n: Annotated[int, typer.Option("--n", min=0, help="How many sentences.")] = 20,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="1 is the model; lower is safer, 0 the likeliest word.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens of this share, in (0, 1].")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Text that every sentence begins with.")] = "",
    min_length: Annotated[int, typer.Option(min=0, help="Fewest tokens before the end.")] = 0,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Most tokens; the longest training sentence's if not given.")
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Leave repeats out.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Allow the unknown-word token.")] = False,
    format: Annotated[str, typer.Option("--format", help="text or jsonl (with log-probabilities).")] = "text",
    out: Annotated[Path | None, typer.Option(help="A file to write; stdout if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Draw sentences from a trained run, streaming: a million of them, or `| head`, in constant memory."""
    from seqgen.errors import UserError, did_you_mean

    if format not in ("text", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("text", "jsonl")))
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"--top-p {top_p}: it must be above 0 and at most 1")
    from seqgen import device as devices
    from seqgen import trained

    devices.prepare(threads)
    say = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    found = trained.load(common.run_or_latest(run), device)
    trained_on = f"{found.run.config['algorithm']} on {found.run.config['source']['corpus']}"
    say(f"run: {found.run.path} ({trained_on}), temperature {temperature:g}, seed {seed}")
    sentences = trained.generate(
        found,
        n,
        prompt=prompt,
        seed=seed,
        unique=unique,
        unknown=unknown,
        with_log_prob=format == "jsonl",
        notify=say,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_length=min_length,
        length=max_length,
    )

    def write(file: IO[str]) -> None:
        for sentence in sentences:
            file.write((sentence.text if format == "text" else _json(sentence)) + "\n")

    common.write_to(out, write)


def _json(sentence: object) -> str:
    return json.dumps(vars(sentence), ensure_ascii=False)
