"""Charts: round ticks, points where their values are, and what would flatten the rest."""

import re

import pytest

from seqgen.report import charts, training
from seqgen.report.charts import Series, chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (2.93, 3.71, ["3.0", "3.2", "3.4", "3.6"]),
        (-0.3, 2300.0, ["0", "500", "1,000", "1,500", "2,000"]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[str]) -> None:
    assert [text for _, text in ticks(low, high)] == expected


def test_points_lie_where_their_values_are() -> None:
    drawn = chart(
        [Series("a", [(0, 0.0), (10, 0.5)], "run0")], title="t", x_label="x", y_label="y", bounds=(0, 2)
    )
    (line,) = drawn.lines
    top, bottom = charts.TOP, charts.HEIGHT - charts.BOTTOM
    assert line.marks[1].y == pytest.approx(bottom - (bottom - top) / 4, abs=0.1)  # 0.5 is a quarter of 0 … 2
    assert line.marks[1].x < charts.WIDTH - charts.RIGHT
    assert line.path == f"M{line.marks[0].x:g} {line.marks[0].y:g}L{line.marks[1].x:g} {line.marks[1].y:g}"
    alone = chart([Series("a", [(1, 5.0)], "run1")], title="t", x_label="x", y_label="y").lines[0]
    assert (alone.path, len(alone.marks)) == ("", 1)


def test_dots_of_a_map_lie_where_their_points_are_and_names_at_the_median() -> None:
    first, second = charts.label_key("a", 0), charts.label_key("m", 13)
    groups = [(first, [(0.0, 0.0), (1.0, 4.0), (2.0, 2.0)]), (second, [(4.0, 1.0)])]
    drawn = charts.scatter(groups, title="t", axes=("x", "y"))
    pixels = [
        [tuple(map(float, each)) for each in re.findall(r"M([\d.]+) ([\d.]+)h0", line.path)]
        for line in drawn.lines
    ]
    assert list(map(len, pixels)) == [3, 1]
    # equal steps of x: 1 to 2 is half of 2 to 4; up is smaller in pixels
    (x0, y0), (x1, y1), (x2, y2) = pixels[0]
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.11)
    assert pixels[1][0][0] - x2 == pytest.approx(2 * (x1 - x0), abs=0.21)
    assert y1 < y2 < y0
    assert (drawn.names[0].x, drawn.names[0].y) == (x1, y2 + 4)
    assert [line.key.square for line in drawn.lines] == [False, True]  # 13 is past the colours
    assert (first.hue, second.hue) == ("label0", "label1")
    assert charts.scatter(groups, title="t", axes=None).x_ticks == []


def test_the_start_is_a_note_if_it_would_flatten_the_rest() -> None:
    steep = Series("a", [(0, 7.5), (1, 3.0), (2, 2.5)], "run0")
    kept, notes = training._without_start([steep])
    assert kept[0].points == [(1, 3.0), (2, 2.5)]
    assert notes == ["before training, not drawn: 7.5"]
    flat = Series("a", [(0, 3.2), (1, 3.0), (2, 2.5)], "run0")
    assert training._without_start([flat]) == ([flat], [])
