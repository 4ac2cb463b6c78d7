"""The summary of a page: differences by hand, what stands out, and the numbers chosen."""

from typing import Any

import pytest

from seqgen.evaluation.quality_diversity import BASELINE, REAL
from seqgen.report import findings, summary
from seqgen.report.scores import ReportData
from seqgen.report.summary import Estimate


def test_estimates_differ_where_their_difference_exceeds_both_halves() -> None:
    # halves that point to each other: .03 up from .50, .04 down from .55; √(.03² + .04²) = .05
    low, high = Estimate(0.50, (0.40, 0.53)), Estimate(0.551, (0.511, 0.9))
    assert summary.is_significant(low, high) is True
    assert summary.is_significant(high, low) is True
    assert summary.is_significant(low, Estimate(0.549, (0.509, 0.9))) is False
    assert summary.is_significant(low, Estimate(0.9, None)) is None


def test_a_rate_has_an_interval_within_its_range_even_where_it_is_1() -> None:
    number = next(each for each in summary.OTHERS if each.name == "novel")
    found = summary.estimate({"novel": 1.0, "intervals": {"novel": [1.0, 1.0]}}, number, 47)
    assert found is not None
    # Wilson: n / (n + 1.96²) = 47 / 50.841
    assert found.interval == (pytest.approx(47 / (47 + 1.959964**2), abs=1e-6), pytest.approx(1.0))


def row(**values: Any) -> dict[str, Any]:
    """Return scores of 100 sentences, those of real text but for the values given."""
    mean = values.pop("mean", 9.0)
    return {
        "bleu": {"5": 0.5},
        "self_bleu": {"5": 0.4},
        "lm": {"reverse": 2.0, "score": 3.0},
        "classifier": {"accuracy": 0.5},
        "novel": 1.0,
        "unique": 1.0,
        "repeated": [{"sentence": "a b", "count": 7}],
        "lengths": {"mean": mean},
        "intervals": {
            "bleu": {"5": [0.47, 0.53]},
            "self_bleu": {"5": [0.36, 0.44]},
            "lm": {"reverse": [1.9, 2.1]},
            "classifier": {"accuracy": [0.4, 0.6]},
        },
    } | values


def data(run: dict[str, Any], rows: list[dict[str, Any]]) -> ReportData:
    protocol = {"n": 100, "real_n": 100, "temperature": 1.0}
    scores = run | {"name": "r", "real": row(), "baseline": row(novel=0.5), "protocol": protocol}
    config = {"algorithm": "mle", "settings": {}, "data": {"corpus": "c"}, "steps": 30}
    return ReportData(["r"], ["r"], ["run0"], [config], [rows], scores)


def test_a_run_like_real_text_differs_in_nothing_and_nothing_stands_out() -> None:
    found = summary.summary(data(row(), [{"step": 30, "valid_nll": 2.5, "seconds": 61.0}]))
    assert found.numbers.heads == ["number", REAL, BASELINE, "r"]
    assert [each[0].text for each in found.numbers.rows] == [
        "reverse LM",
        "BLEU-5",
        "self-BLEU-5",
        "classifier",
        "novel",
    ]
    assert found.differences[0] == (
        f"r and {REAL} do not differ in reverse LM, BLEU-5, self-BLEU-5, classifier, novel"
    )
    assert found.differences[1].startswith(f"r and {BASELINE} differ in novel (+50.0 points); not in")
    assert [each.anchor for each in found.look_at] == ["samples"]
    assert found.trained[0].text == (
        "mle; 30 of 30 steps in 61 s; least validation NLL, nats a token: 2.500, at step 30."
    )


def test_what_differs_is_in_the_table_and_in_words() -> None:
    changed = row(bleu={"5": 0.8}, intervals=row()["intervals"] | {"bleu": {"5": [0.77, 0.83]}})
    found = summary.summary(data(changed, []))
    assert found.differences[0].startswith(f"r and {REAL} differ in BLEU-5 (+0.300); not in reverse LM")
    cell = found.numbers.rows[1][-1]
    assert (cell.text, list(cell.below)) == ("0.800", ["0.770–0.830", "above real"])
    del changed["intervals"]["lm"]
    found = summary.summary(data(changed, []))
    assert found.differences[0].endswith("of reverse LM that is not known: too few sentences")


def test_where_a_grammar_decides_it_the_first_number_is_validity() -> None:
    rows = {REAL: row(grammar={"valid": 1.0}), "r": row(grammar={"valid": 0.25})}
    assert summary.chosen(rows)[0].name == "valid"
    assert summary.chosen({"r": row()})[0].name == "reverse LM"


@pytest.mark.parametrize(
    ("values", "anchor", "words"),
    [
        ({"novel": 0.75}, "samples", "25% of the sentences of r are copies"),
        ({"unique": 0.5}, "scores", "50% of its sentences are different"),
        ({"classifier": {"accuracy": 0.8}}, "ngrams", "in 80% of cases"),
        ({"mean": 5.0}, "lengths", "shorter than real ones: 5.0 tokens against 9.0"),
        ({"latent": {"collapsed": True, "kl": 0.04}}, "latents", "no information (KL 0.040 nats)"),
    ],
)
def test_what_stands_out_is_named_with_its_section(values: dict[str, Any], anchor: str, words: str) -> None:
    of_run = row(**values)
    found = findings.findings(data(of_run, []), {REAL: row(), "r": of_run})
    assert [each.anchor for each in found] == [anchor]
    assert words in found[0].text


def test_overfitting_is_named_with_the_step_of_the_least_loss() -> None:
    rows = [{"step": i, "valid_nll": nll} for i, nll in ((0, 5.0), (7, 2.0), (11, 2.25))]
    found = findings.findings(data(row(), rows), {REAL: row(), "r": row()})
    assert "worse since step 7, at last by 0.25 nats" in found[0].text
