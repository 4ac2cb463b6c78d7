"""Charts: round ticks, points where their values are, and what would flatten the rest."""

import re

import pytest

from seqgen.report import charts, training
from seqgen.report.charts import Series, chart, ticks
from seqgen.report.html import Html, element


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
    x, y = map(float, re.findall(r"translate\(([\d.]+) ([\d.]+)\)", drawn)[1])
    top, bottom = charts.TOP, charts.HEIGHT - charts.BOTTOM
    assert y == pytest.approx(bottom - (bottom - top) / 4, abs=0.1)  # 0.5 is a quarter of 0 … 2
    assert x < charts.WIDTH - charts.RIGHT
    assert (
        chart([Series("a", [(1, 5.0)], "run1")], title="t", x_label="x", y_label="y").count('class="mark"')
        == 1
    )


def test_the_start_is_a_note_if_it_would_flatten_the_rest() -> None:
    steep = Series("a", [(0, 7.5), (1, 3.0), (2, 2.5)], "run0")
    kept, notes = training._without_start([steep])
    assert kept[0].points == [(1, 3.0), (2, 2.5)]
    assert notes == ["before training, not drawn: 7.5"]
    flat = Series("a", [(0, 3.2), (1, 3.0), (2, 2.5)], "run0")
    assert training._without_start([flat]) == ([flat], [])


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert element("p", "<b>", Html("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'
