"""A learning curve in characters: a metric by step, as training shows it at its end."""

import math
from collections.abc import Mapping, Sequence

HEIGHT = 7
"""Lines of the chart."""
FEWEST = 3
"""Points that are worth a chart; fewer are said in a line."""
MOST_STRETCH = 2.0
"""How many times the point before training may enlarge the range of the values; else it is said instead."""

Point = tuple[int, float]
"""Step and value."""


def draw(rows: Sequence[Mapping[str, float]], name: str, *, columns: int) -> list[str]:
    """Return the lines of the learning curve of a metric; none where no report has a finite value of it.

    Args:
        rows: the reports of a run, each with its `step`.
        columns: the width of a line at most, 40 at least.
    """
    points = [(int(row["step"]), row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
    if len(points) < FEWEST:
        return [f"{name}: " + ", ".join(f"{y:.4f} at step {x:,}" for x, y in points)] if points else []
    shown = _without_start(points)
    note = "" if len(shown) == len(points) else f" (before training {points[0][1]:.4f}, not drawn)"
    return [f"{name} by step{note}", *_chart(shown, columns)]


def _without_start(points: Sequence[Point]) -> Sequence[Point]:
    """Leave out the point before the first step where it would flatten the rest."""
    values = [y for _, y in points]
    later = values[1:]
    is_far = max(values) - min(values) > MOST_STRETCH * (max(later) - min(later)) > 0
    return points[1:] if points[0][0] == 0 and is_far else points


def _chart(points: Sequence[Point], columns: int) -> list[str]:
    """Draw points as stars, with the largest and least value and the first and last step at the axes."""
    low, high = min(y for _, y in points), max(y for _, y in points)
    top, bottom = _labels(high, low)
    margin = max(len(top), len(bottom))
    width = max(columns - margin - 3, 2)
    first, last = points[0][0], points[-1][0]
    grid = [[" "] * width for _ in range(HEIGHT)]
    for x, y in points:
        across = round((x - first) / max(last - first, 1) * (width - 1))
        down = round((high - y) / (high - low) * (HEIGHT - 1)) if high > low else HEIGHT // 2
        grid[down][across] = "*"
    sides = [top, *[""] * (HEIGHT - 2), bottom]
    drawn = [f"{side:>{margin}} | {''.join(cells)}".rstrip() for side, cells in zip(sides, grid, strict=True)]
    start, end = f"{first:,}", f"{last:,}"
    steps = start + end.rjust(max(width - len(start), len(end) + 1))
    return [*drawn, f"{'':>{margin}} +-{'-' * width}", f"{'':>{margin}}   {steps}"]


def _labels(high: float, low: float) -> tuple[str, str]:
    """Format two values with as many digits as tell them apart, four at least."""
    for digits in range(4, 12):
        top, bottom = f"{high:#.{digits}g}", f"{low:#.{digits}g}"
        if top != bottom:
            break
    return top, bottom
