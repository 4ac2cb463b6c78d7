"""What codes are good for: `seqgen reconstruct`, `interpolate`, `neighbours` and `encode`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common
from seqgen.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from seqgen.training.load import Trained

Run = Annotated[Path | None, typer.Option(help="The run; the latest under runs/ if not given.")]
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT…", help="Sentences; some of the test split if none.")
]
File = Annotated[Path | None, typer.Option(help="A file of sentences, one a line, instead; - is stdin.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="Of the words that are written; 0 the likeliest.")]
Seed = Annotated[int, common.seed_option("Seed of everything drawn.")]
Format = Annotated[str, typer.Option("--format", help="text or jsonl.")]


def reconstruct(
    text: Texts = None,
    run: Run = None,
    file: File = None,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    format: Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Encode sentences and write what their codes are decoded to; with jsonl also its cost in nats."""
    _check_format(format)
    found, say = opened(run, device, threads, quiet)
    from seqgen.inference import latent_space

    given = _texts(found, say, text, file, n=10, seed=seed)
    pairs = latent_space.reconstruct(found, given, temperature=temperature, seed=seed)
    shown = [f"{pair.text}\n  → {pair.reconstruction}" for pair in pairs]
    _print(shown if format == "text" else [_json(vars(pair)) for pair in pairs])


def interpolate(
    first: Annotated[str | None, typer.Argument(help="A sentence; one of the test split if none.")] = None,
    last: Annotated[str | None, typer.Argument(help="Another.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Sentences on the way, both ends included.")] = 7,
    spherical: Annotated[
        bool, typer.Option("--spherical", help="Turn about the origin instead of going straight.")
    ] = False,
    run: Run = None,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    format: Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Write the sentences on the way from one to another, by way of their codes."""
    _check_format(format)
    if first is not None and last is None:
        raise UserError(f"'{first}' leads nowhere: give two sentences to go from one to the other, or none")
    found, say = opened(run, device, threads, quiet)
    from seqgen.inference import latent_space

    ends = _texts(found, say, None if last is None else [first or "", last], None, n=2, seed=seed)
    if len(ends) < 2:
        raise UserError("there are no two sentences to go between; give two")
    say(f"from: {ends[0]}\nto:   {ends[1]}")
    options: dict[str, Any] = {"spherical": spherical, "temperature": temperature, "seed": seed}
    written = latent_space.interpolate(found, ends[0], ends[1], steps, **options)
    rows = [{"share": i / (steps - 1), "text": line} for i, line in enumerate(written)]
    _print(written if format == "text" else [_json(row) for row in rows])


def neighbours(
    text: Texts = None,
    run: Run = None,
    file: File = None,
    among: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to look; up to 100,000 training sentences if not given."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many for each.")] = 5,
    metric: Annotated[
        str, typer.Option(help="euclidean, or cosine of the angle at the origin.")
    ] = "euclidean",
    seed: Seed = 0,
    format: Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Find the sentences whose codes are nearest to those of the given ones.

    The codes of the sentences that are searched are kept in the cache: only the first search is slow.
    """
    _check_format(format)
    if metric not in ("euclidean", "cosine"):
        raise UserError(f"no metric '{metric}'" + did_you_mean(metric, ("euclidean", "cosine")))
    found, say = opened(run, device, threads, quiet)
    from seqgen.evaluation.references import random_subset
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference import latent_space

    given = _texts(found, say, text, file, n=3, seed=seed)
    pool = read_sentences(among, "--among") if among else None
    searched = (
        random_subset(found.corpus.train, latent_space.SEARCHED, seed)
        if pool is None
        else list(filter(None, pool))
    )
    say(f"among: {len(searched):,} sentences of {among or found.corpus.name}")
    for query, near in zip(
        given, latent_space.neighbours(found, given, searched, n, metric=metric), strict=True
    ):
        if format == "text":
            _print([query, *(f"  {each.distance:.4f}  {each.text}" for each in near)])
        else:
            _print([_json({"text": query, "neighbours": [vars(each) for each in near]})])


def encode(
    file: Annotated[Path, typer.Argument(help="Sentences, one a line; - is stdin.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="The file to write.")],
    run: Run = None,
    device: common.Device = "auto",
    threads: common.Threads = None,
    quiet: common.Quiet = False,
) -> None:
    """Write the codes of sentences as a NumPy file: float32 (N, Z), a row for each line, in their order."""
    if out.suffix != ".npy":
        raise UserError(f"--out '{out}' does not end in .npy, the one format written")
    found, say = opened(run, device, threads, quiet)
    import numpy as np

    from seqgen.core.atomic_files import write_atomic
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference import latent_space

    encoded = latent_space.encode(found, read_sentences(file, "FILE")).numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as opened:
            np.save(opened, encoded)

    write_atomic(out, write)
    say(f"{out}: {len(encoded):,} codes of {encoded.shape[1]} numbers")


def _check_format(format: str) -> None:
    if format not in ("text", "jsonl"):
        raise UserError(f"no format '{format}'" + did_you_mean(format, ("text", "jsonl")))


def opened(
    run: Path | None, device: str, threads: int | None, quiet: bool
) -> tuple["Trained", Callable[[str], None]]:
    """Load a run that has codes, and say which it is."""
    from seqgen.core import device as devices
    from seqgen.inference import latent_space
    from seqgen.training import load

    devices.prepare(threads)
    found = load.load(common.run_or_latest(run), device)
    latent_space.check(found)
    say = (lambda message: None) if quiet else (lambda message: typer.echo(message, err=True))
    say(f"run: {found.run.path} ({found.run.config['algorithm']} on {found.run.config['source']['corpus']})")
    return found, say


def _texts(
    found: "Trained",
    say: Callable[[str], None],
    given: list[str] | None,
    file: Path | None,
    *,
    n: int,
    seed: int,
) -> list[str]:
    """Return the sentences given as arguments or in a file, or n of the test split drawn by the seed."""
    from seqgen.data.corpus import normalise
    from seqgen.evaluation.references import random_subset
    from seqgen.evaluation.sentence_files import read_sentences
    from seqgen.inference import latent_space

    if given and file is not None:
        raise UserError("sentences are given as arguments and with --file; give one of them")
    if file is not None:
        return read_sentences(file, "--file")
    if not given:
        return random_subset(some(found), n, seed)
    sentences = normalise(given)
    if len(sentences) < len(given):
        raise UserError("one of the sentences is blank; give text")
    for sentence in sentences:
        unknown = latent_space.unknown_words(found, sentence)
        if unknown:
            say(f"'{sentence}' has {unknown} words or characters that the model has never seen")
    return sentences


def some(found: "Trained") -> Sequence[str]:
    """Return the test split, or the training split where the corpus has none."""
    return found.corpus.test if len(found.corpus.test) else found.corpus.train


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _print(lines: Sequence[str]) -> None:
    def write(file: IO[str]) -> None:
        file.writelines(f"{line}\n" for line in lines)

    common.write_to(None, write)
