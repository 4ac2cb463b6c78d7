"""Charts as inline SVG, coloured by the style of the page: lines, histogram outlines and points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seqgen.report.html import Html, element, join

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 24, 40
HUES = 6
"""Colours of runs, which repeat for more runs."""
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
"""Shapes of points, so that series differ in more than colour."""


@dataclass(frozen=True)
class Series:
    """A line of a chart: its label, its points in order, and the class that colours it (a key of MARKS)."""

    label: str
    points: Sequence[tuple[float, float]]
    hue: str
    dashed: bool = False
    names: Sequence[str] = ()
    """Labels of the points, if any."""


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def hue(index: int) -> str:
    """The class that colours the run of this number."""
    return f"run{index % HUES}"


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    note: str = "",
    bounds: tuple[float, float] | None = None,
    steps: bool = False,
) -> Html:
    """Draw lines over two labelled axes; `steps` draws them as the outline of a histogram.

    The labels name the axes with their units, `note` is printed under the title, and `bounds` fixes the range
    of the vertical axis.
    """
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    x_low, x_high = _range(xs, 0.0 if steps else 0.03)
    y_low, y_high = bounds or ((0.0, max(ys) * 1.05 or 1.0) if steps else _range(ys, 0.07))
    x_scale = Scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y_scale = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    drawn = [_axes(x_scale, y_scale, x_label, y_label)]
    drawn += [_line(each, x_scale, y_scale, steps=steps) for each in series]
    picture = element(
        "svg",
        *drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}: {y_label} over {x_label}",
    )
    return element("figure", element("figcaption", title, element("small", note)), picture)


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """List the label and the colour of each series, given as (label, hue)."""
    items = []
    for label, hue_class in entries:
        swatch = element(
            "svg",
            element("path", d="M2 8H46", class_="curve"),
            element("path", d=MARKS[hue_class], class_=_mark_class(hue_class), transform="translate(24 8)"),
            viewBox="0 0 48 16",
            aria_hidden="true",
        )
        items.append(element("li", swatch, label, class_=hue_class))
    return element("ul", *items, class_="key")


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


def _axes(x_scale: Scale, y_scale: Scale, x_label: str, y_label: str) -> Html:
    parts = []
    for value, text in ticks(x_scale.low, x_scale.high):
        x = f"{x_scale(value):.1f}"
        parts.append(element("path", d=f"M{x} {TOP}V{HEIGHT - BOTTOM}", class_="grid"))
        parts.append(element("text", text, x=x, y=HEIGHT - BOTTOM + 14, text_anchor="middle"))
    for value, text in ticks(y_scale.low, y_scale.high):
        y = y_scale(value)
        parts.append(element("path", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="grid"))
        parts.append(element("text", text, x=LEFT - 5, y=f"{y + 4:.1f}", text_anchor="end"))
    middle = (LEFT + WIDTH - RIGHT) // 2
    parts.append(element("text", x_label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="label"))
    parts.append(element("text", y_label, x=4, y=12, class_="label"))
    return element("g", *parts)


def _line(series: Series, x_scale: Scale, y_scale: Scale, *, steps: bool) -> Html:
    if not series.points:
        return Html()
    pixels = [(x_scale(x), y_scale(y)) for x, y in series.points]
    parts = []
    if len(pixels) > 1:
        path = _outline(pixels) if steps else "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
        parts.append(element("path", d=path, class_="curve dashed" if series.dashed else "curve"))
    if not steps and len(pixels) <= MAX_MARKED_POINTS:
        for (x, y), (value_x, value_y) in zip(pixels, series.points, strict=True):
            tooltip = element("title", f"{series.label}: {value_y:.5g} at {value_x:.5g}")
            position = f"translate({x:.1f} {y:.1f})"
            transform = f"{position} scale(.6)" if len(pixels) > 1 and not series.names else position
            parts.append(
                element(
                    "path", tooltip, d=MARKS[series.hue], class_=_mark_class(series.hue), transform=transform
                )
            )
    for (x, y), name in zip(pixels, series.names, strict=False):
        near_edge = x > WIDTH - RIGHT - 30
        text_x, anchor = (x - 6, "end") if near_edge else (x + 6, "start")
        parts.append(
            element("text", name, x=f"{text_x:.1f}", y=f"{y - 6:.1f}", text_anchor=anchor, class_="named")
        )
    return element("g", join(*parts), class_=series.hue)


def _outline(pixels: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = pixels
    return f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in rest)


def _mark_class(hue_class: str) -> str:
    return "curve" if hue_class == "baseline" else "mark"
