"""Averages over seeds, and differences from the likelihood model at equal diversity: by hand."""

import pytest

from seqgen.bench.comparisons import comparisons, summary
from seqgen.bench.frontier import table


def test_means_over_seeds_by_hand():
    def row(value, missed=0.0):
        return {
            "case": "c",
            "group": "g",
            "name": "x",
            "figures": {"a": {"mean": value, "error": 9.0}, "b": {"mean": missed, "error": None}},
        }

    (found,) = summary([row(1.0), row(3.0, None)])
    # mean 2, standard deviation √2 over two seeds: error 1; what is infinite once is infinite
    assert found["figures"]["a"] == {"mean": 2.0, "error": pytest.approx(1.0)}
    assert found["figures"]["b"] == {"mean": None, "error": None}
    assert found["seeds"] == 2
    (single,) = summary([row(1.0)])
    assert single["figures"]["a"]["error"] == 9.0


def row(group, name, seed=0, **figures):
    """A row whose figures have the given means and an error of .3."""
    found = {key: {"mean": value, "error": 0.3} for key, value in figures.items()}
    return {"case": "c", "seed": seed, "group": group, "name": name, "figures": found}


def rows_of(seed, shift=0.0):
    """The own NLL of mle is 10; colder it falls to 8 and 6, and valid rises from .5 to .7 and .8."""
    return [
        row("truth", "true distribution", seed, nll_own=9.0, valid=1.0, nll_test=9.0),
        row("mle", "mle", seed, nll_own=10.0, valid=0.5, nll_test=11.0),
        row("temperature", "temperature 0.9", seed, nll_own=8.0, valid=0.7, nll_test=11.5),
        row("temperature", "temperature 0.5", seed, nll_own=6.0, valid=0.8, nll_test=13.0),
        row("temperature", "temperature 1.2", seed, nll_own=11.0, valid=0.3, nll_test=11.6),
        row("top-p", "top-p 0.8", seed, nll_own=5.0, valid=0.9, nll_test=None),
        row("adversarial", "residual", seed, nll_own=9.0, valid=0.95 + shift, nll_test=10.8),
        row("control", "longer", seed, nll_own=7.0, valid=0.6, nll_test=10.9),
        row("control", "larger", seed, nll_own=12.0, valid=0.6, nll_test=10.9),
    ]


def figure(found, case, name, key):
    (one,) = (each for each in found if (each["case"], each["name"]) == (case, name))
    return one["figures"][key]


def test_differences_from_mle_and_from_mle_of_equal_diversity():
    found = comparisons(rows_of(0))
    plain, equal = "c: less mle", "c: less mle of equal own NLL"
    assert {(each["case"], each["name"]) for each in found} == {
        (case, name) for case in (plain, equal) for name in ("residual", "longer", "larger")
    }
    assert figure(found, plain, "residual", "valid")["mean"] == pytest.approx(0.45)
    assert figure(found, plain, "residual", "valid")["error"] == pytest.approx(0.3 * 2**0.5)
    assert "nll_test" not in found[0]["figures"]
    # at 9 the temperatures have .6, and top-p, whose line from mle to (5, .9) passes there, has .58
    assert figure(found, equal, "residual", "valid")["mean"] == pytest.approx(0.95 - 0.6)
    # at 7 they have .75 and .74
    assert figure(found, equal, "longer", "valid")["mean"] == pytest.approx(0.6 - 0.75)
    # 12 is beyond temperature 1.2
    assert figure(found, equal, "larger", "valid") == {"mean": None, "error": None}


def test_of_a_curve_that_turns_the_best_crossing_counts():
    rows = [
        row("mle", "mle", nll_own=10.0, jensen_shannon=0.5),
        row("min-p", "min-p 0.3", nll_own=9.0, jensen_shannon=0.6),
        row("min-p", "min-p 0.1", nll_own=11.0, jensen_shannon=0.3),
        row("control", "longer", nll_own=10.5, jensen_shannon=0.2),
    ]
    # min-p rises from 0 by .1 to .3: at 10.5 it is once .4, once .375, and less is better
    found = comparisons(rows)
    assert figure(found, "c: less mle of equal own NLL", "longer", "jensen_shannon")["mean"] == pytest.approx(
        0.2 - 0.375
    )


def test_seeds_are_compared_each_with_its_own_and_then_averaged():
    found = comparisons([*rows_of(0), *rows_of(1, shift=0.02)])
    residual = figure(found, "c: less mle of equal own NLL", "residual", "valid")
    assert residual == {"mean": pytest.approx(0.36), "error": pytest.approx(0.01)}
    # the same rows shuffled between the seeds' blocks
    assert comparisons([*rows_of(0), *rows_of(1, shift=0.02)][::-1])[0]["seeds"] == 2


def test_a_text_is_matched_by_self_bleu():
    rows = [
        row("mle", "mle", self_bleu_5=0.4, classifier=0.9, ms_jaccard_4=0.2),
        row("temperature", "temperature 0.8", self_bleu_5=0.6, classifier=0.8, ms_jaccard_4=0.4),
        row("adversarial", "residual", self_bleu_5=0.5, classifier=0.7, ms_jaccard_4=0.35),
    ]
    found = comparisons(rows)
    equal = "c: less mle of equal self-BLEU-5"
    assert figure(found, equal, "residual", "classifier")["mean"] == pytest.approx(0.7 - 0.85)
    assert figure(found, equal, "residual", "ms_jaccard_4")["mean"] == pytest.approx(0.05)


def test_a_column_that_is_infinite_everywhere_is_left_out():
    rows = rows_of(0)
    for each in rows:
        each["figures"]["nll_oracle"] = {"mean": None, "error": None}
    laid_out = table(comparisons(rows))
    assert "valid" in laid_out
    assert "NLL_oracle" not in laid_out
