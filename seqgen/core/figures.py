"""Figures of matplotlib as reproducible bytes: the same data gives the same file."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}
"""Removes matplotlib's version and the date, which would differ between equal figures."""


def render(figure: "Figure", *, kind: str = "png", dpi: int = 120) -> bytes:
    """Return a figure as the content of a file; `kind` is png or svg, `dpi` pixels an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=_NO_METADATA[kind])
    return buffer.getvalue()
