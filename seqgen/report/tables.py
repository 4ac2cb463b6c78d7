"""Tables of a page as data, which a template lays out."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    below: Sequence[str] = ()
    """Smaller lines under it, as an interval."""
    badge: str = ""
    """A word in a frame behind it."""
    beside: str = ""
    """Fainter text behind it."""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings, no two of which are equal; the first cell of a row is its heading."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    kind: str = "metrics"
    """The class by which the style sheet knows it: metrics, settings or grams."""


def cells(*texts: str) -> list[Cell]:
    """Return a row of plain cells."""
    return [Cell(text) for text in texts]
