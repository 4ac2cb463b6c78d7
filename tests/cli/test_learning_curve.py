"""The learning curve in characters: a chart drawn by hand, few points, a start that is far off, the width."""

import math

import pytest

from seqgen.cli import learning_curve


def rows(values: dict[int, float]) -> list[dict[str, float]]:
    return [{"step": step, "valid_nll": value} for step, value in values.items()]


def draw(values: dict[int, float], columns: int = 39) -> list[str]:
    return learning_curve.draw(rows(values), "valid_nll", columns=columns)


def test_a_chart_is_as_drawn_by_hand() -> None:
    # Values of 4 to 1 on seven lines: 0.5 a line. Steps of 10 to 40 on 31 columns: one a column.
    assert draw({10: 4.0, 20: 2.5, 30: 1.0, 40: 1.5}) == [
        "valid_nll by step",
        "4.000 | *",
        "      |",
        "      |",
        "      |           *",
        "      |",
        "      |                               *",
        "1.000 |                     *",
        "      +--------------------------------",
        "        10                           40",
    ]


def test_one_report_is_said_and_so_are_two() -> None:
    assert draw({0: 6.2}) == ["valid_nll: 6.2000 at step 0"]
    assert draw({0: 6.2, 1500: 1.25}) == ["valid_nll: 6.2000 at step 0, 1.2500 at step 1,500"]


def test_a_metric_that_no_report_has_is_not_drawn() -> None:
    assert learning_curve.draw(rows({5: 1.0}), "valid_loss", columns=39) == []
    assert draw({5: math.nan, 7: math.inf}) == []
    assert learning_curve.draw([], "valid_nll", columns=39) == []


def test_the_value_before_training_does_not_flatten_the_others() -> None:
    far = draw({0: 8.5, 10: 1.3, 20: 1.25, 30: 1.2})
    assert far[0] == "valid_nll by step (before training 8.5000, not drawn)"
    assert (far[1][:5], far[7][:5]) == ("1.300", "1.200")
    near = draw({0: 1.35, 10: 1.3, 20: 1.25, 30: 1.2})
    assert near[0] == "valid_nll by step"
    assert near[1].startswith("1.350 | *")


def test_values_that_are_all_the_same_are_a_level_line() -> None:
    level = draw({0: 1.5, 10: 1.5, 20: 1.5})
    assert [line.count("*") for line in level] == [0, 0, 0, 0, 3, 0, 0, 0, 0, 0]


def test_values_that_are_close_are_told_apart() -> None:
    close = draw({10: 1.28301, 20: 1.28302, 30: 1.28303})
    assert (close[1].split(" |")[0], close[7].split(" |")[0]) == ("1.28303", "1.28301")


@pytest.mark.parametrize("columns", [40, 53, 80])
def test_it_fits_the_width_with_many_reports(columns: int) -> None:
    found = draw({step: 9 - step / 1e6 for step in range(1_000_000, 7_000_000, 10_007)}, columns)
    assert len(found) == 10
    assert max(map(len, found[1:])) == columns
    assert sum(line.count("*") for line in found) >= columns - 9
