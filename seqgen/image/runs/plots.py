"""Pictures as PNG files: grids of images, pixel by pixel; grids over training on one sheet; points of a map.

Grids are drawn without a plotting library: every pixel becomes a square of whole pixels, so that nothing is
blurred. The same images give the same file.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seqgen.core.atomic_files import write_atomic, write_bytes
from seqgen.core.figures import render

TILE = 64
"""Pixels at least to which the side of an image is enlarged."""
FONT = 15
"""Pixels of the height of a caption's letters."""
REPORT_SAMPLES, COLUMNS = 64, 8
"""Samples of a grid, and in each of its rows."""
MAX_PANELS, PANELS_IN_ROW = 12, 4
"""Grids at most on the sheet over training, and in each of its rows."""
WHITE, BLACK = 255, 0


def grid(
    images: Tensor,
    columns: int,
    path: Path,
    *,
    captions: Sequence[str] = (),
    gap: bool = True,
) -> None:
    """Write images (N, C, H, W) in [0, 1] as one PNG file, row by row, whole or not at all.

    Args:
        captions: a word for each row, at its left; none leaves no margin.
        gap: leave white between the images.

    Raises:
        ValueError: there is no image, or it is neither grey (C 1) nor in colour (C 3).
    """
    picture = Image.fromarray(tiles(images, columns, gap=gap))
    save(_captioned(picture, captions) if captions else picture, path)


def tiles(images: Tensor, columns: int, *, gap: bool = True) -> np.ndarray:
    """Lay images (N, C, H, W) in [0, 1] out in rows, enlarged; uint8, (rows, across) or (rows, across, 3)."""
    n, channels, height, width = images.shape
    if not n or channels not in (1, 3):
        raise ValueError(f"a grid needs grey or colour images, at least one; got {tuple(images.shape)}")
    factor = math.ceil(TILE / max(height, width))
    between = max(1, max(height, width) // 14) if gap else 0
    rows = math.ceil(n / columns)
    across = min(n, columns)
    canvas = np.full((rows * (height + between), across * (width + between), channels), WHITE, np.uint8)
    for i, image in enumerate(pixels(images)):
        top, left = i // columns * (height + between), i % columns * (width + between)
        canvas[top : top + height, left : left + width] = image.reshape(height, width, channels)
    canvas = canvas[: canvas.shape[0] - between, : canvas.shape[1] - between]
    enlarged = canvas.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged[:, :, 0] if channels == 1 else enlarged


def pixels(images: Tensor) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 1] as bytes; (N, H, W) if grey, (N, H, W, 3) in colour."""
    values = images.detach().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return values[:, :, :, 0] if values.shape[-1] == 1 else values


def _captioned(picture: Image.Image, captions: Sequence[str]) -> Image.Image:
    """Put a word at the left of each row of a grid, on white."""
    font = ImageFont.load_default(FONT)
    margin = math.ceil(max(font.getlength(caption) for caption in captions)) + FONT
    whole = Image.new(picture.mode, (margin + picture.width, picture.height), "white")
    whole.paste(picture, (margin, 0))
    pen = ImageDraw.Draw(whole)
    for i, caption in enumerate(captions):
        middle = (i + 0.5) * picture.height / len(captions)
        pen.text((margin - FONT // 2, middle), caption, fill="black", font=font, anchor="rm")
    return whole


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as a PNG file, whole or not at all."""

    def write(temporary: Path) -> None:
        picture.save(temporary, format="PNG")

    write_atomic(path, write)


def write_report_samples(path: Path, images: Tensor) -> None:
    """Write a report's samples (N, C, H, W) as `path`.png, and `sheet.png` of all such files beside it.

    The path ends in `step-` and the number of the step, as `seqgen.training.loop` names it.
    """
    grid(images, COLUMNS, path.with_suffix(".png"))
    sheet(sorted(path.parent.glob("step-*.png")), path.with_name("sheet.png"))


def sheet(pictures: Sequence[Path], path: Path) -> None:
    """Put the grids of a training (files `step-….png`, in order) on one sheet, each with its step below.

    At most 12 of them at half their size: the first, the last, and as evenly as can be what lies between.
    """
    chosen = [pictures[i] for i in evenly_spaced(len(pictures), MAX_PANELS)]
    panels = [_halved(each) for each in chosen]
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    line, gap = FONT * 2, FONT
    rows, across = math.ceil(len(panels) / PANELS_IN_ROW), min(len(panels), PANELS_IN_ROW)
    whole = Image.new(panels[0].mode, (across * (width + gap) - gap, rows * (height + line)), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(FONT)
    for i, (panel, source) in enumerate(zip(panels, chosen, strict=True)):
        left, top = i % PANELS_IN_ROW * (width + gap), i // PANELS_IN_ROW * (height + line)
        whole.paste(panel, (left, top))
        caption = f"step {int(source.stem.removeprefix('step-')):,}"
        pen.text((left + width / 2, top + height + line / 2), caption, fill="black", font=font, anchor="mm")
    save(whole, path)


def _halved(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.reduce(2)


def evenly_spaced(n: int, most: int) -> list[int]:
    """Choose at most `most` of the numbers 0 to n - 1, evenly, the first and the last among them."""
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
    """Write points (N, 2) coloured by label (N,) as a PNG file, a number or a name at each label's middle.

    Args:
        labels: −1 where there is none; those points are grey.
        names: of the labels 0, 1, 2, …, where they have names.
        axes: what the axes are, with their units; None where only distances between points mean anything.
    """
    from matplotlib import patheffects
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    kinds = [int(kind) for kind in np.unique(labels) if kind >= 0]
    hues = dict(zip(kinds, _colours(len(kinds)), strict=True)) | {-1: (0.7, 0.7, 0.7)}
    across, up = points.T
    panel.scatter(across, up, color=[hues[int(label)] for label in labels], s=9, alpha=0.7, linewidths=0)
    for kind in kinds:
        x, y = np.median(points[labels == kind], axis=0)
        name = names[kind] if names else str(kind)
        size = 17 if len(name) < 3 else 11
        word = panel.text(
            x, y, name, color=hues[kind], fontsize=size, weight="bold", ha="center", va="center"
        )
        word.set_path_effects([patheffects.withStroke(linewidth=4, foreground="white")])
    if axes is None:
        panel.set_xticks([])
        panel.set_yticks([])
    else:
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
    panel.set_title(title, fontsize=10)
    write_bytes(path, render(figure, dpi=150))


def _colours(n: int) -> list[tuple[float, ...]]:
    """Choose colours that are told apart: ten by name, more around the circle of hues."""
    from matplotlib import colormaps

    if n <= 10:
        return [colormaps["tab10"](i) for i in range(n)]
    return [colormaps["hsv"](i / n) for i in range(n)]
