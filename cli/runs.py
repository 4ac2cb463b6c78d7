"""`seqgen runs`: what has been trained, and how far."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from seqgen.training.run_list import Listed

HEAD = ("run", "algorithm", "corpus", "steps", "best", "age", "")
UNITS = ((86_400, "day"), (3_600, "h"), (60, "min"))
"""Seconds, and the unit of an age of at least so many."""


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of the table.")] = False,
) -> None:
    """List the runs of a folder, the newest first, and say which are finished, and which are damaged.

    Best is the least value of the metric by which the weights were kept; the age is since the last report.
    """
    from seqgen.training import run_list

    found = run_list.in_folder(folder)
    if as_json:
        typer.echo(json.dumps([_as_json(each) for each in found], ensure_ascii=False))
    elif found:
        typer.echo(table(found, now=time.time()))
    else:
        typer.echo(f"no run in '{folder}'; train one with: seqgen pretrain", err=True)


def table(found: "list[Listed]", *, now: float) -> str:
    """Format a list of runs; now: seconds since 1970, from which the ages count."""
    rows = [HEAD, *(_cells(each, now) for each in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cells(each: "Listed", now: float) -> tuple[str, ...]:
    from seqgen.training.data_config import short_name

    best = "" if each.best is None else f"{each.metric or 'best'} {each.best:.4g}"
    corpus = "" if each.corpus is None else short_name(each.corpus)
    return (
        each.path.resolve().name,
        each.algorithm or "",
        corpus,
        _steps(each),
        best,
        age(now - each.changed),
        _state(each),
    )


def _steps(each: "Listed") -> str:
    if each.step is None:
        return ""
    if each.ended or each.steps is None:
        return f"{each.step:,}"
    return f"{each.step:,} of {each.steps:,}"


def _state(each: "Listed") -> str:
    if each.damage:
        return f"damaged: {each.damage}"
    return each.ended.split(":")[0] or "unfinished"


def age(seconds: float) -> str:
    """Format an age by its largest unit: `5 days`, `2 h`, `7 min`, or `now` below a minute."""
    for size, unit in UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' * (unit == 'day' and count > 1)}"
    return "now"


def _as_json(each: "Listed") -> dict[str, Any]:
    changed = datetime.fromtimestamp(each.changed, UTC).isoformat(timespec="seconds")
    state = "damaged" if each.damage else "finished" if each.ended else "unfinished"
    return asdict(each) | {"path": str(each.path), "changed": changed, "state": state}
