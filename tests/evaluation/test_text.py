"""The report as a whole: its keys, what stands beside it, and the table made of it."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.evaluation.references import real_sample, yardstick
from seqgen.evaluation.table import render
from seqgen.evaluation.text import Subject, compare, evaluate
from seqgen.generation.likelihood import Likelihood
from seqgen.ngrams import kneser_ney
from seqgen.ngrams.ngram_sampler import baseline_sample

REFS = ["a dog runs fast .", "the cat sat on a mat .", "two men ride a horse ."]
TRAIN = ["a dog runs .", "the cat sat .", "two men ride .", "a man rides a horse .", "it rains ."]
HYPS = ["a dog runs .", "the men sat on a horse .", "a dog runs .", ""]
KEYS = {
    "bleu",
    "self_bleu",
    "sacrebleu",
    "nll_test",
    "nll_gen",
    "distinct",
    "unique",
    "novel",
    "real",
    "protocol",
}


class Coin:
    """Derives "h" and "t", each with probability 1/2; takes "edge" for valid, too, without deriving it."""

    name = "coin"

    def log_prob(self, sentence: str) -> float:
        return -math.log(2) if sentence in ("h", "t") else -math.inf

    def entropy(self) -> float:
        return math.log(2)

    def valid(self, sentence: str) -> bool:
        return sentence in ("h", "t", "edge")


def test_the_report_has_its_keys_and_is_json() -> None:
    report = evaluate(HYPS, REFS, TRAIN)
    assert set(report) >= KEYS
    assert list(report["bleu"]) == list(report["self_bleu"]) == ["2", "3", "4", "5"]
    assert list(report["distinct"]) == ["1", "2", "3", "4"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_figures_of_a_small_text_by_hand() -> None:
    # "a dog runs ." stands twice and is a training sentence, so 2 copies; novel 2 of 4, different 3 of 4.
    report = evaluate(HYPS, REFS, TRAIN, tokenisation="whitespace")
    assert (report["copies"], report["novel"], report["unique"]) == (2, 0.5, 0.75)
    assert report["lengths"]["mean"] == pytest.approx((4 + 7 + 4 + 0) / 4)
    assert evaluate(["it rains .", "x", "y"], REFS, TRAIN)["novel"] == pytest.approx(2 / 3)
    assert report["vocabulary"] == 9
    # BLEU-2: "a dog runs .": all 4 words, 2 of 3 bigrams, nearest length 5; the blank line counts 0.
    # "the men sat on a horse .": 7 words, 4 of 6 bigrams (not "the men", "men sat"), nearest length 7.
    twice, once = math.exp(1 - 5 / 4) * math.sqrt(2 / 3), math.sqrt(4 / 6)
    assert report["bleu"]["2"] == pytest.approx((2 * twice + once) / 4, rel=1e-9)


def test_the_protocol_states_what_the_figures_depend_on() -> None:
    said = evaluate(HYPS, [*REFS, " "], TRAIN, seed=3, stated={"temperature": 0.7})["protocol"]
    assert (
        said
        | {
            "n": 4,
            "blank": 1,
            "references": 3,
            "train": 5,
            "real_n": 4,
            "tokenisation": "treebank",
            "temperature": 0.7,
            "seed": 3,
        }
        == said
    )


def test_real_text_is_scored_by_the_same_functions() -> None:
    report = evaluate(HYPS, REFS, TRAIN)
    alone = evaluate(real_sample(TRAIN, 4, seed=0), REFS)
    for key in ("bleu", "self_bleu", "sacrebleu", "distinct", "unique", "lengths"):
        assert report["real"][key] == alone[key]
    assert alone["real"] is None
    assert alone["novel"] is None


def test_the_real_sample_is_seeded_and_without_repeats() -> None:
    train = [str(i) for i in range(101)]
    first = real_sample(train, 17, seed=5)
    assert first == real_sample(train, 17, seed=5) != real_sample(train, 17, seed=6)
    assert len(set(first)) == 17
    assert real_sample(train, 200, seed=5) == train


def test_every_score_has_its_interval_and_lies_in_it() -> None:
    report = evaluate(many(60, 0), many(50, 1), many(70, 2))
    found = report["intervals"]
    assert set(found) == {
        *("bleu", "self_bleu", "sacrebleu", "distinct", "entropy", "unique"),
        *("zipf", "coverage", "vocabulary"),
        *("novel", "copying", "jsd", "ms_jaccard", "length_distance", "frechet", "lm", "classifier"),
    }
    inside = []
    for keys, interval in flat(found):
        value = report
        for key in keys:
            value = value[key]
        inside.append(interval[0] <= value <= interval[1])
        assert interval[0] < interval[1] or value in (0.0, 1.0), keys
    assert sum(inside) >= len(inside) - 1  # a percentile interval of a smoothed score may lie beside it
    for row in ("real", "baseline"):
        assert set(report[row]["intervals"]) == set(found)


def flat(tree: dict, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], list[float]]]:
    found = []
    for key, value in tree.items():
        found += flat(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]
    return found


def many(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(f"w{int(rng.expovariate(0.1))}" for _ in range(rng.randint(1, 9))) for _ in range(count)]


def test_few_sentences_have_no_interval_of_a_set() -> None:
    found = evaluate(HYPS, REFS, TRAIN)["intervals"]
    assert "bleu" in found
    assert "self_bleu" not in found


def test_copying_is_by_hand_and_real_text_is_judged_by_the_references() -> None:
    # runs shared: "a dog runs ." 4; "the men sat on a horse .": "a horse ." 3; 4; blank 0
    report = evaluate(HYPS, REFS, TRAIN)
    assert report["copying"] == {"longest_mean": 11 / 4, "longest_max": 4, "overlap": 2 / 4}
    # 3 of "a dog runs fast .", 3 of "the cat sat on a mat .", two runs of 3 of "two men ride a horse ."
    real = report["real"]
    assert (real["copies"], real["novel"]) == (0, 1.0)
    assert real["copying"] == {"longest_mean": 3.0, "longest_max": 3, "overlap": 0.0}
    without = evaluate(HYPS, REFS)
    assert (without["copying"], without["copies"], without["baseline"]) == (None, None, None)


def test_the_language_models_go_both_ways() -> None:
    refs = many(40, 1)
    report = evaluate(many(60, 0), refs, many(70, 2))
    coder = yardstick(refs).coder
    coded, hyps = coder(refs), coder(many(60, 0))
    known = np.unique(coded.codes)
    model, reverse = kneser_ney.fit(coded, known), kneser_ney.fit(hyps, known)
    found = report["lm"]
    assert found["score"] == pytest.approx(model.nats(hyps).sum() / (hyps.lengths + 1).sum())
    assert found["reverse"] == pytest.approx(reverse.nats(coded).sum() / (coded.lengths + 1).sum())
    assert found["perplexity"] == pytest.approx(math.exp(found["score"]))
    assert evaluate([f"z {refs[0].split()[0]}", "z z"], refs)["lm"]["unknown"] == 3


def test_without_training_text_the_floor_is_between_halves_of_the_references() -> None:
    refs = many(101, 3)
    report = evaluate(many(60, 0), refs)
    floor = report["floor"]
    assert floor["n"] == 50
    assert set(floor) >= {"jsd", "ms_jaccard", "length_distance", "frechet", "classifier", "intervals"}
    order = np.random.default_rng(0).permutation(101)
    half, rest = ([refs[i] for i in part] for part in (order[:50], order[50:]))
    alone = evaluate(half, rest)
    for key in ("jsd", "ms_jaccard", "length_distance", "frechet", "classifier"):
        assert floor[key] == alone[key]
    assert evaluate(many(60, 0), refs, many(30, 4))["floor"] is None
    assert evaluate(HYPS, REFS[:3])["floor"] is None  # one sentence is no half
    assert "halves of the references" in render(report, "x")


def test_several_sets_are_cut_to_the_smallest() -> None:
    first, second = many(9, 0), many(6, 1)
    report = compare([Subject("first", first), Subject("second", second)], yardstick(REFS, TRAIN))
    assert report["protocol"]["n"] == 6
    assert [row["name"] for row in report["rows"]] == ["first", "second"]
    assert report["bleu"] == report["rows"][0]["bleu"] == evaluate(first[:6], REFS)["bleu"]
    assert report["rows"][1]["self_bleu"] == evaluate(second, REFS)["self_bleu"]
    text = render(report, "unused")
    assert "unused" not in text
    assert text.count("\nsecond ") == text.count("\nfirst ") > 5
    with pytest.raises(UserError, match="1 sentence to score"):
        compare([Subject("first", first), Subject("second", second[:1])], yardstick(REFS))


def test_the_most_repeated_sentences_are_listed() -> None:
    report = evaluate(["b  a", "c"] * 2 + ["b a", "d"], REFS)
    assert report["repeated"] == [{"sentence": "b a", "count": 3}, {"sentence": "c", "count": 2}]
    assert "     3 × b a\n     2 × c\n" in render(report, "x")


def test_the_baseline_is_a_row_of_its_own_sentences() -> None:
    report = evaluate(HYPS, REFS, TRAIN, seed=4)
    lines = baseline_sample(TRAIN, 4, seed=4)
    assert report["baseline"]["self_bleu"] == evaluate(lines, REFS)["self_bleu"]


def test_a_model_adds_its_likelihoods() -> None:
    report = evaluate(HYPS, REFS, nll_test=Likelihood(30.0, 15, 3), nll_gen=Likelihood(8.0, 16, 4))
    assert (report["nll_test"], report["nll_gen"]) == (2.0, 0.5)
    assert report["likelihood"]["test"]["perplexity"] == pytest.approx(math.exp(2))
    assert report["likelihood"]["test"]["nats_per_sentence"] == pytest.approx(10.0)
    without = evaluate(HYPS, REFS)
    assert without["nll_test"] is without["nll_gen"] is None


def test_a_grammar_judges_the_samples() -> None:
    report = evaluate(
        ["h", "x", "t", "edge"], ["h", "t"], ["h", "t"], nll_test=Likelihood(3.0, 4, 2), grammar=Coin()
    )
    assert report["grammar"] == {
        "name": "coin",
        "valid": 0.75,
        "nll": pytest.approx(math.log(2)),
        "entropy": pytest.approx(math.log(2)),
        "test_nll": pytest.approx(math.log(2)),
        "ratio": pytest.approx(1.5 / math.log(2)),
    }
    assert report["real"]["grammar"]["valid"] == 1.0


def test_a_grammar_that_derives_nothing_leaves_no_infinity() -> None:
    report = evaluate(["x", "y"], ["x"], grammar=Coin())
    assert (report["grammar"]["valid"], report["grammar"]["nll"], report["grammar"]["test_nll"]) == (
        0,
        None,
        None,
    )


def test_real_coco_text_scores_as_measured_before(data_dir: Path) -> None:
    train, test = (
        (data_dir / f"text/coco_{part}.txt").read_text(encoding="utf-8").splitlines()
        for part in ("train", "test")
    )
    report = evaluate(train, test, train)
    assert list(report["bleu"].values()) == pytest.approx([0.740, 0.520, 0.337, 0.218], abs=5e-4)
    assert list(report["self_bleu"].values()) == pytest.approx([0.892, 0.747, 0.574, 0.416], abs=6e-4)
    assert report["real"]["bleu"] == report["bleu"]
    assert report["novel"] == 0.0


@pytest.mark.parametrize(
    ("hyps", "refs", "tokenisation", "message"),
    [
        (["a"], REFS, "auto", "1 sentence to score: self-BLEU compares sentences, give at least 2"),
        (HYPS, ["", "  "], "auto", "no reference to score against"),
        (HYPS, REFS, "treebnk", "did you mean 'treebank'"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    hyps: list[str], refs: list[str], tokenisation: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(hyps, refs, tokenisation=tokenisation)


def test_the_number_of_threads_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    evaluate(HYPS, REFS)
    assert seen == [1, 3]
