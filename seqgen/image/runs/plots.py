"""Figures as PNG files: grids of images, a sheet of the grids of a training, scatter plots, bar charts.

Grids are drawn without a plotting library: every pixel of an image becomes a square, so that nothing is
blurred. The same images give the same file.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seqgen.core.atomic_files import write_atomic, write_bytes
from seqgen.core.figures import render

TILE = 64
"""Least size, in pixels, that the longer side of an image is enlarged to."""
FONT = 15
"""Font size of captions, in pixels."""
REPORT_SAMPLES, COLUMNS = 64, 8
"""Samples in the grid of a report, and in each of its rows."""
MOST_HEADINGS = 16
"""Columns of a grid that have a heading each, at most."""
MOST_NAMES, LEGEND_ROWS = 20, 30
"""Labels whose names are written among the points of a scatter plot, at most, and rows of its legend."""
MAX_PANELS, PANELS_IN_ROW = 12, 4
"""Most grids on the sheet of a training, and grids in each of its rows."""
WHITE, BLACK = 255, 0


def grid(
    images: Tensor,
    columns: int,
    path: Path,
    *,
    captions: Sequence[str] = (),
    headings: Sequence[str] = (),
    gap: bool = True,
) -> None:
    """Write images (N, C, H, W) in [0, 1] as one PNG file, row by row, atomically.

    Args:
        captions: a word for each row, at its left.
        headings: a word for each column, above it, as much of it as there is room for.
        gap: leave a white gap between the images.

    Raises:
        ValueError: there is no image, or it is neither grey (C 1) nor in colour (C 3).
    """
    picture = Image.fromarray(tiles(images, columns, gap=gap))
    if headings:
        picture = _with_headings(picture, headings)
    save(_with_captions(picture, captions) if captions else picture, path)


def tiles(images: Tensor, columns: int, *, gap: bool = True) -> np.ndarray:
    """Arrange images (N, C, H, W) in [0, 1] enlarged, in rows; uint8 (height, width) or (…, 3)."""
    n, channels, height, width = images.shape
    if not n or channels not in (1, 3):
        raise ValueError(f"a grid needs grey or colour images, at least one; got {tuple(images.shape)}")
    factor = math.ceil(TILE / max(height, width))
    space = max(1, max(height, width) // 14) if gap else 0
    rows = math.ceil(n / columns)
    across = min(n, columns)
    canvas = np.full((rows * (height + space), across * (width + space), channels), WHITE, np.uint8)
    for i, image in enumerate(pixels(images)):
        top, left = i // columns * (height + space), i % columns * (width + space)
        canvas[top : top + height, left : left + width] = image.reshape(height, width, channels)
    canvas = canvas[: canvas.shape[0] - space, : canvas.shape[1] - space]
    enlarged = canvas.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged[:, :, 0] if channels == 1 else enlarged


def pixels(images: Tensor) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 1] as bytes; (N, H, W) if grey, (N, H, W, 3) in colour."""
    values = images.detach().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return values[:, :, :, 0] if values.shape[-1] == 1 else values


def _with_captions(picture: Image.Image, captions: Sequence[str]) -> Image.Image:
    """Add a white margin to a grid, with a caption at the left of each row."""
    font = ImageFont.load_default(FONT)
    margin = math.ceil(max(font.getlength(caption) for caption in captions)) + FONT
    canvas = Image.new(picture.mode, (margin + picture.width, picture.height), "white")
    canvas.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for i, caption in enumerate(captions):
        middle = (i + 0.5) * picture.height / len(captions)
        draw.text((margin - FONT // 2, middle), caption, fill="black", font=font, anchor="rm")
    return canvas


def _with_headings(picture: Image.Image, headings: Sequence[str]) -> Image.Image:
    """Add a white margin above a grid, with a heading in the middle of each column."""
    font, margin, column = ImageFont.load_default(FONT), 2 * FONT, picture.width / len(headings)
    canvas = Image.new(picture.mode, (picture.width, margin + picture.height), "white")
    canvas.paste(picture, (0, margin))
    draw = ImageDraw.Draw(canvas)
    for i, heading in enumerate(headings):
        shown = heading
        while len(shown) > 1 and font.getlength(shown) > column - 2:
            shown = shown.removesuffix("…")[:-1] + "…"
        draw.text(((i + 0.5) * column, margin / 2), shown, fill="black", font=font, anchor="mm")
    return canvas


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as a PNG file, atomically."""

    def write(file: IO[bytes]) -> None:
        picture.save(file, format="PNG")

    write_atomic(path, write)


def write_report_samples(path: Path, images: Tensor, *, headings: Sequence[str] = ()) -> None:
    """Write a report's samples (N, C, H, W) as `path`.png, and update `sheet.png` in the same folder.

    The path ends in `step-` and the number of the step, as `seqgen.training.loop` names it. With headings
    there are as many columns.
    """
    grid(images, len(headings) or COLUMNS, path.with_suffix(".png"), headings=headings)
    sheet(sorted(path.parent.glob("step-*.png")), path.with_name("sheet.png"))


def sheet(pictures: Sequence[Path], path: Path) -> None:
    """Put the grids of a training (files `step-….png`, in order) on one sheet, each with its step below.

    At most 12 of them at half their size: the first, the last, and others at even distances.
    """
    chosen = [pictures[i] for i in evenly_spaced(len(pictures), MAX_PANELS)]
    panels = [_halved(each) for each in chosen]
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    caption_height, gap = FONT * 2, FONT
    rows, across = math.ceil(len(panels) / PANELS_IN_ROW), min(len(panels), PANELS_IN_ROW)
    size = across * (width + gap) - gap, rows * (height + caption_height)
    canvas = Image.new(panels[0].mode, size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT)
    for i, (panel, source) in enumerate(zip(panels, chosen, strict=True)):
        left, top = i % PANELS_IN_ROW * (width + gap), i // PANELS_IN_ROW * (height + caption_height)
        canvas.paste(panel, (left, top))
        caption = f"step {int(source.stem.removeprefix('step-')):,}"
        draw.text(
            (left + width / 2, top + height + caption_height / 2),
            caption,
            fill="black",
            font=font,
            anchor="mm",
        )
    save(canvas, path)


def _halved(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.reduce(2)


def evenly_spaced(n: int, most: int) -> list[int]:
    """Choose at most `most` of the numbers 0 to n - 1, evenly, with the first and the last."""
    if n <= most:
        return list(range(n))
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    path: Path,
    *,
    names: Sequence[str] = (),
    title: str = "",
    axes: tuple[str, str] | None = None,
) -> None:
    """Write points (N, 2) coloured by label (N,) as a PNG file, and a legend of all labels beside them.

    Each label's name is at its median, too, unless there are so many that the names would cover the points.

    Args:
        labels: -1 where there is none; those points are grey.
        names: of the labels 0, 1, 2, …, where they have names.
        axes: what the axes are, with their units; None where only distances between points mean anything.
    """
    from matplotlib import patheffects
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    present = [int(label) for label in np.unique(labels) if label >= 0]
    columns = math.ceil((len(present) + 1) / LEGEND_ROWS)
    figure = Figure(figsize=(6 + columns, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.set_box_aspect(1)
    colours = {-1: (0.7, 0.7, 0.7)} | dict(zip(present, _colours(len(present)), strict=True))
    x_values, y_values = points.T
    panel.scatter(
        x_values, y_values, color=[colours[int(label)] for label in labels], s=9, alpha=0.7, linewidths=0
    )
    listed = present if (labels >= 0).all() else [*present, -1]
    dots = [Line2D([], [], color=colours[label], marker="o", linestyle="", markersize=5) for label in listed]
    called = {label: names[label] if names else str(label) for label in present} | {-1: "no label"}
    figure.legend(
        dots, [called[label] for label in listed], loc="outside right upper", ncols=columns, fontsize=8
    )
    for label in present if len(present) <= MOST_NAMES else ():
        x, y = np.median(points[labels == label], axis=0)
        name = called[label]
        size = 17 if len(name) < 3 else 11
        text = panel.text(
            x, y, name, color=colours[label], fontsize=size, weight="bold", ha="center", va="center"
        )
        text.set_path_effects([patheffects.withStroke(linewidth=4, foreground="white")])
    if axes is None:
        panel.set_xticks([])
        panel.set_yticks([])
    else:
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
    panel.set_title(title, fontsize=10)
    write_bytes(path, render(figure, dpi=150))


def bars(images: Tensor, values: np.ndarray, path: Path, *, title: str = "") -> None:
    """Write images (N, C, H, W) in [0, 1], beside each a bar chart of its values (N, Z), as a PNG file.

    All charts have the same axis of values, so that they compare.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 + 1.7 * len(images)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(images), 2, squeeze=False, width_ratios=(1, 5), sharey=False)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = 0.05 * (high - low or 1.0)
    for (picture, chart), image, row in zip(rows, pixels(images), values, strict=True):
        picture.imshow(image, cmap="gray", vmin=0, vmax=WHITE, interpolation="nearest")
        picture.set_axis_off()
        chart.bar(range(len(row)), row, width=0.8)
        chart.axhline(0, color="black", linewidth=0.8)
        chart.set_ylim(low - margin, high + margin)
        chart.set_xlim(-0.8, len(row) - 0.2)
        chart.set_ylabel("activation")
        chart.xaxis.get_major_locator().set_params(integer=True)
    rows[-1, 1].set_xlabel("latent dimension")
    figure.suptitle(title, fontsize=10)
    write_bytes(path, render(figure, dpi=110))


def _colours(n: int) -> list[Any]:
    """Return different colours: ten of a palette, or more from the circle of hues."""
    from matplotlib import colormaps

    if n <= 10:
        return [colormaps["tab10"](i) for i in range(n)]
    return [colormaps["hsv"](i / n) for i in range(n)]
