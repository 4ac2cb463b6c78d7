"""Results of the speed benchmark that are kept: rows by the instruction set they were measured with."""

import json
from pathlib import Path
from typing import Any

from seqgen.bench.timing import Row
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError

INSTRUCTION_SETS = "AVX512", "AVX2", "DEFAULT"
"""Those that torch has kernels for on x86, by its names; other machines have others."""
Results = dict[str, list[dict[str, Any]]]
"""Instruction set → rows, each with what it was measured with."""


def read(path: Path) -> Results:
    """Return the rows that are kept, none where there is no file; UserError where it is another file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        kept = json.loads(text)
        if all(isinstance(row["task"], str) for rows in kept.values() for row in rows):
            return kept
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise UserError(f"'{path}' holds no results of 'seqgen bench speed'; name another folder by --out")


def add(kept: Results, rows: list[Row], about: dict[str, Any]) -> Results:
    """Return what is kept with new rows, in place of older ones of the same task, model and machine.

    about: `instructions`, and whatever else the rows were measured with: `device`, `threads`, and `options`
    that change a size.
    """
    fresh = [row.as_dict() | about for row in rows]
    replaced = {_key(row) for row in fresh}
    own = about["instructions"]
    others = [row for row in kept.get(own, []) if _key(row) not in replaced]
    return kept | {own: others + fresh}


def write(path: Path, kept: Results) -> None:
    """Write all rows to a file of JSON."""
    write_text(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def elsewhere(kept: Results, own: str) -> list[str]:
    """Say of every other instruction set how many rows are kept of it, or that it was not measured."""
    others = [name for name in dict.fromkeys((*INSTRUCTION_SETS, *kept)) if name != own]
    return [
        f"{name}: {f'{len(kept[name])} rows kept' if kept.get(name) else 'not measured'}" for name in others
    ]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(row.get(name)) for name in ("task", "what", "device", "threads", "options"))
