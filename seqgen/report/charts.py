"""Charts as pixels, which a template draws as inline SVG: lines, histogram outlines and points.

Colours are classes of the style sheet, so that they suit a light page and a dark one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 24, 40
DIGIT = 7
"""Width of a character of a tick, at most."""
HUES = 6
"""Colours of runs, which repeat for more runs."""
LABEL_HUES = 12
"""Colours of the labels of images, which repeat with squares instead of circles."""
MAX_MARKED_POINTS = 60
"""A line with more points is drawn without marks."""
MARKS = {
    "baseline": "M-4-4L4 4M4-4L-4 4",
    "real": "M0-7L1.7-2.3L6.7-2.2L2.7.9L4.1 5.7L0 2.8L-4.1 5.7L-2.7.9L-6.7-2.2L-1.7-2.3Z",
    "run0": "M-3.5 0A3.5 3.5 0 1 1 3.5 0A3.5 3.5 0 1 1-3.5 0Z",
    "run1": "M-3.2-3.2H3.2V3.2H-3.2Z",
    "run2": "M0-4.2L4 3.2H-4Z",
    "run3": "M0-4.5L4.5 0L0 4.5L-4.5 0Z",
    "run4": "M0 4.2L4-3.2H-4Z",
    "run5": "M-4.5-1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z",
}
"""Shapes of points by colour, so that series differ in more than that."""
DOT, SQUARE = MARKS["run0"], MARKS["run1"]
"""Shapes of the labels of images."""


@dataclass(frozen=True)
class Series:
    """A line of a chart: its label, its points in order, and the class that colours it."""

    label: str
    points: Sequence[tuple[float, float]]
    hue: str
    dashed: bool = False
    names: Sequence[str] = ()
    """Labels of the points, if any."""


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    label: str
    hue: str
    mark: str
    """Path of its shape."""
    is_line: bool = True

    @property
    def outlined(self) -> bool:
        """Whether the shape is drawn and not filled."""
        return self.hue == "baseline"

    @property
    def square(self) -> bool:
        """Whether its dots are squares."""
        return self.mark == SQUARE


@dataclass(frozen=True)
class Tick:
    """A value of an axis."""

    pixel: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A point of a line."""

    x: float
    y: float
    scale: float
    tooltip: str


@dataclass(frozen=True)
class Name:
    """A word in a chart; `anchor` as SVG has it."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    hue: str = ""


@dataclass(frozen=True)
class Line:
    """A series in pixels."""

    key: Key
    path: str
    """Of the curve; empty for a single point."""
    dashed: bool = False
    marks: Sequence[Mark] = ()
    names: Sequence[Name] = ()
    dots: bool = False
    """Whether the path is of dots of no length, which the style sheet makes visible."""


@dataclass(frozen=True)
class Chart:
    """Lines over two axes, in pixels of a picture of WIDTH × HEIGHT."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line]
    note: str = ""
    names: Sequence[Name] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[Tick]:
        """Return round values of the range."""
        return [Tick(self(value), text) for value, text in ticks(self.low, self.high)]


def hue(index: int) -> str:
    """The class that colours the run of this number."""
    return f"run{index % HUES}"


def key(label: str, hue: str) -> Key:
    """Return the entry of a legend for a run, for real text or for a baseline."""
    return Key(label, hue, MARKS[hue])


def label_key(label: str, index: int) -> Key:
    """Return the entry of a legend for the label of this number, of images."""
    mark = SQUARE if index // LABEL_HUES % 2 else DOT
    return Key(label, f"label{index % LABEL_HUES}", mark, is_line=False)


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    note: str = "",
    bounds: tuple[float, float] | None = None,
    steps: bool = False,
) -> Chart:
    """Draw lines over two labelled axes; `steps` draws them as the outline of a histogram.

    The labels name the axes with their units, `note` is printed under the title, and `bounds` fixes the range
    of the vertical axis.
    """
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    y_range = bounds or ((0.0, max(ys) * 1.05 or 1.0) if steps else _range(ys, 0.07))
    y_scale = Scale(*y_range, HEIGHT - BOTTOM, TOP)
    y_ticks = y_scale.ticks()
    left = max(LEFT, 10 + DIGIT * max(len(each.text) for each in y_ticks))
    x_scale = Scale(*_range(xs, 0.0 if steps else 0.03), left, WIDTH - RIGHT)
    return Chart(
        title,
        x_label,
        y_label,
        x_scale.ticks(),
        y_ticks,
        [_line(each, x_scale, y_scale, steps=steps) for each in series if each.points],
        note=note,
        left=left,
    )


def scatter(
    groups: Sequence[tuple[Key, Sequence[tuple[float, float]]]],
    *,
    title: str,
    axes: tuple[str, str] | None,
    note: str = "",
) -> Chart:
    """Draw points of several groups as dots, each group's name at its median.

    axes: what they are, with their units; None where only distances between points mean anything.
    """
    size = WIDTH  # a square: distances mean the same in both directions
    xs, ys = ([point[i] for _, points in groups for point in points] for i in (0, 1))
    x_scale = Scale(*_range(xs, 0.04), LEFT if axes else RIGHT, size - RIGHT)
    y_scale = Scale(*_range(ys, 0.04), size - (BOTTOM if axes else RIGHT), TOP)
    lines, names = [], []
    for entry, points in groups:
        pixels = [(x_scale(x), y_scale(y)) for x, y in points]
        path = "".join(f"M{x:g} {y:g}h0" for x, y in pixels)
        lines.append(Line(entry, path, dots=True))
        if pixels:
            x, y = (sorted(pixel[i] for pixel in pixels)[len(pixels) // 2] for i in (0, 1))
            names.append(Name(x, y + 4, entry.label, "middle", entry.hue))
    drawn = Chart(title, *(axes or ("", "")), [], [], lines, note=note, names=names)
    if axes:
        drawn = replace(drawn, x_ticks=x_scale.ticks(), y_ticks=y_scale.ticks())
    bottom, left = size - (BOTTOM if axes else RIGHT), LEFT if axes else RIGHT
    return replace(drawn, height=size, bottom=bottom, left=left)


def ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Choose at most `count` + 1 round values of a range, with their texts."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        padding = abs(low) * 0.1 or 0.5
        return low - padding, high + padding
    padding = (high - low) * margin
    return low - padding, high + padding


def _line(series: Series, x_scale: Scale, y_scale: Scale, *, steps: bool) -> Line:
    pixels = [(x_scale(x), y_scale(y)) for x, y in series.points]
    path = ""
    if len(pixels) > 1:
        path = _outline(pixels) if steps else "M" + "L".join(f"{x:g} {y:g}" for x, y in pixels)
    marks = []
    if not steps and len(pixels) <= MAX_MARKED_POINTS:
        scale = 0.6 if len(pixels) > 1 and not series.names else 1.0
        for (x, y), (value_x, value_y) in zip(pixels, series.points, strict=True):
            marks.append(Mark(x, y, scale, f"{series.label}: {value_y:.5g} at {value_x:.5g}"))
    names = [
        Name(x - 6, y - 6, name, "end") if x > WIDTH - RIGHT - 30 else Name(x + 6, y - 6, name)
        for (x, y), name in zip(pixels, series.names, strict=False)
    ]
    return Line(key(series.label, series.hue), path, series.dashed, marks, names)


def _outline(pixels: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = pixels
    return f"M{x:g} {y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in rest)
