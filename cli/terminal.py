"""The width of the terminal, and text that fits it."""

import os
import sys
import unicodedata
from collections.abc import Iterable

USUAL = 80
"""Columns of a terminal that does not say how many it has, and of a file."""


def width() -> int:
    """Return the columns of standard error: those of COLUMNS, else of the terminal, else 80."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL
    except (OSError, ValueError):  # no terminal, or closed, or a stream in memory
        return USUAL


def columns(text: str) -> int:
    """Return how many columns a line takes: Chinese characters two, combining ones none."""
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, most: int) -> str:
    """Return a line as it is, or as much of its beginning as has room before a … within `most` columns."""
    if columns(text) <= most:
        return text
    kept, taken = [], 0
    for character in text:
        taken += _columns_of(character)
        if taken > most - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def packed(texts: Iterable[str], most: int) -> list[str]:
    """Join texts by two spaces to lines of at most `most` columns, where no single text is longer."""
    lines: list[str] = []
    for text in texts:
        if lines and columns(lines[-1]) + 2 + columns(text) <= most:
            lines[-1] += f"  {text}"
        else:
            lines.append(text)
    return lines
