"""Maps of the latent space: sentences as points of the plane, coloured by length or label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.core.errors import UserError
from seqgen.core.figures import render
from seqgen.data import files
from seqgen.data.conditions import parted
from seqgen.data.corpus import normalise
from seqgen.data.reading import Reading, Taken
from seqgen.data.tokenizer import PAD
from seqgen.inference.latent_space import encode
from seqgen.inference.projection_2d import Method, Projection, project
from seqgen.training.load import Trained, over_sentences

METHODS = {"pca": "PCA", "tsne": "t-SNE after PCA", "umap": "UMAP after PCA"}
"""The name of each method in a picture."""
MAX_LABELS = 20
"""Distinct labels that can be distinguished by colour."""


@dataclass(frozen=True)
class Colours:
    """The values that colour the points of a map: a number or a label for each."""

    title: str
    values: np.ndarray
    """(N,) of float, or of str"""


def latent_map(
    trained: Trained, sentences: Sequence[str], *, method: Method = "tsne", seed: int = 0
) -> Projection:
    """Project the latents of sentences to 2-D; raises the errors of `project` and `encode`."""
    return project(encode(trained, sentences), method, seed=seed)


def by_length(trained: Trained, sentences: Sequence[str]) -> Colours:
    """Colour sentences by their lengths, EOS included."""
    lengths = over_sentences(trained, sentences, lambda tokens: (tokens != PAD).sum(dim=1))
    return Colours("tokens", lengths.double().numpy())


def by_label(labels: Sequence[str], title: str) -> Colours:
    """Colour by labels: names if there are at most 20 distinct ones, else all labels must be numbers."""
    distinct = sorted(set(labels))
    if len(distinct) > MAX_LABELS:
        try:
            return Colours(title, np.array([float(label) for label in labels]))
        except ValueError as error:
            raise UserError(
                f"{title} has {len(distinct)} distinct labels; give at most {MAX_LABELS}, "
                "or labels that are numbers"
            ) from error
    return Colours(title, np.array(labels))


def read_labelled(path: Path, label: str, column: str | None = None) -> tuple[list[str], list[str]]:
    """Read the sentences of a table and their labels; rows without either are left out.

    Tables are those of a corpus (`seqgen.data.tables`); `column` names the sentences where several columns
    hold text. UserError where there is no such table or column.
    """
    found = files.find(str(path))
    if not all(map(files.has_columns, found)):
        raise UserError(f"'{path}' is no table with columns; give a .csv, .tsv, .json, .jsonl or .parquet")
    how, taken = Reading(column, label=label), Taken()
    chunks = (chunk for file in found for chunk in files.read(file, how, taken))
    rows = (parted(line) for chunk in chunks for line in chunk if line is not None)
    kept = [(clean[0], value) for value, line in rows if (clean := normalise([line]))]
    return [line for line, _ in kept], [value for _, value in kept]


def draw(projection: Projection, colours: Colours, *, title: str = "") -> bytes:
    """Plot a map as a PNG picture: a colour bar for numbers, a legend for names."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    style: dict[str, Any] = {"s": 9, "alpha": 0.7, "linewidths": 0}
    xs, ys = projection.points.T
    if np.issubdtype(colours.values.dtype, np.number):
        points = panel.scatter(xs, ys, c=colours.values, cmap="viridis", **style)
        figure.colorbar(points, label=colours.title)
    else:
        names = np.unique(colours.values)
        palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
        for i, name in enumerate(names):
            rows = colours.values == name
            panel.scatter(xs[rows], ys[rows], color=palette(i), label=name, **style)
        panel.legend(title=colours.title, fontsize=8, markerscale=2, loc="upper left", bbox_to_anchor=(1, 1))
    if projection.axes is None:
        panel.set_xticks([])
        panel.set_yticks([])
    else:
        panel.set_xlabel(projection.axes[0])
        panel.set_ylabel(projection.axes[1])
    panel.set_title(title, fontsize=10)
    return render(figure)
