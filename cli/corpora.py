"""`seqgen corpora`: the built-in corpora, statistics of any corpus, downloads of public corpora."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli import common, streams

if TYPE_CHECKING:
    from seqgen.corpora.download import Progress
    from seqgen.corpora.recipes import File, Recipe
    from seqgen.data.reading import Taken

app = typer.Typer(help="List, show, measure and fetch corpora.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_corpora(as_json: Json = False) -> None:
    """List the built-in corpora and the public ones that can be fetched."""
    from seqgen import corpora
    from seqgen.corpora.recipes import RECIPES

    built_in = {name: corpora.summary(name) for name in corpora.names()}
    public = {recipe.name: recipe.title for recipe in RECIPES}
    if as_json:
        typer.echo(json.dumps({"built_in": built_in, "public": public}, ensure_ascii=False))
        return
    width = max(map(len, [*built_in, *public]))
    for kind, entries in (("built-in", built_in), ("fetch", public)):
        for name, line in entries.items():
            typer.echo(f"{name:{width}}  {kind:8}  {line}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name from 'seqgen corpora list'.")],
    n: Annotated[int, typer.Option("--n", min=0, help="Sentences to sample from a built-in corpus.")] = 5,
    seed: Annotated[int, common.seed_option("Random seed.")] = 0,
    as_json: Json = False,
) -> None:
    """Show the card of a built-in corpus and some samples, or the recipe of a public one."""
    from seqgen import corpora
    from seqgen.core.errors import UserError, did_you_mean
    from seqgen.corpora.recipes import RECIPES

    recipes = {recipe.name: recipe for recipe in RECIPES}
    if name in recipes:
        _show_recipe(recipes[name], as_json=as_json)
        return
    if name not in corpora.names():
        raise UserError(f"no corpus '{name}'{did_you_mean(name, [*corpora.names(), *recipes])}")
    samples = corpora.load(name).sample(n, seed)
    if as_json:
        typer.echo(
            json.dumps({"name": name, "card": corpora.card(name), "samples": samples}, ensure_ascii=False)
        )
        return
    typer.echo(corpora.card(name).rstrip() + "\n")
    if samples:
        typer.echo(f"## {n} samples, seed {seed}\n\n" + "\n".join(samples))


@app.command()
def stats(
    corpus: Annotated[str, typer.Argument(help="A built-in name, a file, a folder, - or hf:NAME.")],
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    as_json: Json = False,
) -> None:
    """Count the sentences, tokens and types of a corpus, over all of its splits."""
    from seqgen.corpora.stats import statistics
    from seqgen.data.corpus import open_corpus

    opened = open_corpus(corpus, column=column, encoding=encoding, separator=separator)
    splits = {"train": opened.train, "valid": opened.valid, "test": opened.test}
    found = statistics(chunk for lines in splits.values() for chunk in lines.chunks())
    sizes = {role: len(lines) for role, lines in splits.items()}
    if as_json:
        row = {
            "corpus": corpus,
            "splits": sizes,
            "taken": opened.taken.facts,
            "left_out": opened.taken.dropped,
        }
        typer.echo(json.dumps(row | found, ensure_ascii=False))
        return
    typer.echo("\n".join(_table(sizes, opened.taken, found)))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A public corpus from 'seqgen corpora list'.")],
    out: Annotated[Path | None, typer.Option(help="The folder; data/NAME in the cache if not given.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="A mirror: the URL of the file, or of the folder if there are several files."),
    ] = None,
    quiet: common.Quiet = False,
) -> None:
    """Download a public corpus and print the paths; an interrupted download resumes."""
    from seqgen.core import cache
    from seqgen.corpora import download
    from seqgen.corpora.recipes import get_recipe

    recipe = get_recipe(name)
    folder = out or cache.folder() / "data" / name
    is_present = download.present(recipe, folder)
    with _bars(quiet=quiet) as progress:
        paths = download.fetch(recipe, folder, url=url, progress=progress)
    for path in paths:
        typer.echo(path)
    if not quiet:
        typer.echo("already downloaded, checksums match" if is_present else "checksums match", err=True)
        typer.echo(f"licence: {recipe.licence}", err=True)
        typer.echo("next: " + recipe.next_command.format(folder=shlex.quote(str(folder))), err=True)


def _show_recipe(recipe: "Recipe", *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(recipe), ensure_ascii=False))
        return
    typer.echo(f"{recipe.name}: {recipe.title}\n")
    typer.echo(f"licence  {recipe.licence}\nformat   {recipe.format}")
    for file in recipe.files:
        typer.echo(f"\n{file.name}\n  from    {file.url}\n  bytes   {file.size:,}\n  sha256  {file.sha256}")
    typer.echo(f"\nfetch it with 'seqgen corpora fetch {recipe.name}'", err=True)


def _table(sizes: dict[str, int], taken: "Taken", found: dict[str, Any]) -> list[str]:
    """Format the statistics as lines of name and value."""
    rows = [("taken", "; ".join(taken.facts))] if taken.facts else []
    if taken.dropped:
        rows.append(("left out", ", ".join(f"{count:,} {reason}" for reason, count in taken.dropped.items())))
    rows += [
        ("sentences", f"{found['sentences']:,}"),
        ("splits", "  ".join(f"{role} {size:,}" for role, size in sizes.items())),
        ("duplicates", f"{found['duplicates']:.2%}"),
        ("tokens", f"{found['tokens']:,}, {found['types']:,} distinct"),
        ("characters", f"{found['characters']:,}, {found['character_types']:,} distinct"),
    ]
    for unit in ("tokens", "characters"):
        spread = found[f"{unit}_per_sentence"]
        values = "  ".join(f"{name} {round(value, 1):,}".removesuffix(".0") for name, value in spread.items())
        rows.append((f"{unit} each", values))
    words = "  ".join(f"{word} {count:,}" for word, count in found["most_frequent"])
    rows.append(("most frequent", words))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {value}" for name, value in rows]


@contextmanager
def _bars(*, quiet: bool) -> Iterator["Progress"]:
    """Show a progress bar for each file if stderr is a terminal."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    bars: dict[str, Any] = {}

    def update(file: "File", done: int) -> None:
        if file.name not in bars:
            bars[file.name] = tqdm(
                desc=file.name,
                total=file.size,
                unit="B",
                unit_scale=True,
                disable=hidden,
                file=streams.for_bars(),
            )
        bars[file.name].update(done - bars[file.name].n)

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()
