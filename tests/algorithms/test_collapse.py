"""The watch for mode collapse: its limits, its reasons, and that reports have what it looks at."""

import math
from dataclasses import fields

import pytest
from helpers import batch, build

from seqgen.algorithms.collapse import Limits, collapsed

START = {"unique": 0.98, "distinct_tokens": 4300.0, "sample_nll": 5.0, "valid_nll": 8.0, "reward": 0.5}


def test_all_is_well_at_the_start_and_up_to_the_limits():
    assert collapsed(START, START) is None
    at_limits = {"unique": 0.49, "distinct_tokens": 2150.0, "sample_nll": 2.5, "valid_nll": 9.0}
    assert collapsed(at_limits, START) is None


def test_improving_is_never_collapse():
    assert (
        collapsed({"unique": 1.0, "distinct_tokens": 4900.0, "sample_nll": 8.0, "valid_nll": 1.0}, START)
        is None
    )


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (
            "unique",
            0.31,
            "the fraction of unique sentences fell to 0.31 in 1,000 samples (start 0.98; limit 0.49)",
        ),
        (
            "distinct_tokens",
            1999.0,
            "the number of distinct tokens fell to 1,999 in 1,000 samples (start 4,300; limit 2,150)",
        ),
        (
            "sample_nll",
            2.4,
            "the entropy of the policy in nats a token fell to 2.40 (start 5.00; limit 2.50)",
        ),
        ("valid_nll", 9.02, "the validation NLL in nats a token rose to 9.02 (start 8.00; limit 9.00)"),
    ],
)
def test_each_figure_has_its_reason(key, value, reason):
    assert collapsed(START | {key: value}, START, samples=1000) == reason


def test_limits_can_be_set():
    now = START | {"unique": 0.9, "sample_nll": 4.9, "distinct_tokens": 4200.0, "valid_nll": 8.1}
    assert collapsed(now, START) is None
    for key, value in [
        ("unique", 0.95),
        ("sample_nll", 0.99),
        ("distinct_tokens", 0.99),
        ("valid_nll", 0.05),
    ]:
        assert collapsed(now, START, Limits(**{key: value})) is not None


def test_the_number_of_samples_need_not_be_known():
    assert collapsed({"unique": 0.1}, START) == (
        "the fraction of unique sentences fell to 0.10 (start 0.98; limit 0.49)"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("key", ["unique", "valid_nll"])
def test_what_is_not_finite_is_collapse(key, value):
    assert collapsed(START | {key: value}, START).endswith(f" is {value}")


def test_figures_that_are_missing_or_unknown_are_not_judged():
    assert collapsed({"reward": -1e9}, START) is None
    assert collapsed({"unique": 0.0}, {"sample_nll": 5.0}) is None
    assert collapsed({"unique": 0.0}, {"unique": math.nan}) is None
    assert collapsed({}, {}) is None


@pytest.mark.parametrize("field", fields(Limits))
def test_every_limit_is_on_a_metric_that_reports_have(field):
    report = build("seqgan").evaluate([batch()])
    assert field.name in report
    worse = 1e6 if field.name == "valid_nll" else 0.0
    assert collapsed(report | {field.name: worse}, report)
