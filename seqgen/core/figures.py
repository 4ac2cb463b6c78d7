"""Figures of matplotlib as bytes, without the date and version that would make equal figures differ."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}
"""What matplotlib would write into a file of itself and of the day."""


def render(figure: "Figure", *, kind: str = "png", dpi: int = 120) -> bytes:
    """Draw a figure and return the file's content; `kind` is png or svg."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=_NO_METADATA[kind])
    return buffer.getvalue()
