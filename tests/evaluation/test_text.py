"""The results of an evaluation: their keys, real text, the baseline, and the table."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.evaluation import scores
from seqgen.evaluation.references import build_references, random_subset
from seqgen.evaluation.table import render
from seqgen.evaluation.text import SentenceSet, compare, evaluate
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


def test_the_results_have_their_keys_and_are_json() -> None:
    results = evaluate(HYPS, REFS, TRAIN)
    assert set(results) >= KEYS
    assert list(results["bleu"]) == list(results["self_bleu"]) == ["2", "3", "4", "5"]
    assert list(results["distinct"]) == ["1", "2", "3", "4"]
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_the_scores_of_a_small_text_by_hand() -> None:
    # "a dog runs ." occurs twice and is a training sentence, so 2 copies; novel 2 of 4, unique 3 of 4.
    results = evaluate(HYPS, REFS, TRAIN, tokenisation="whitespace")
    assert (results["copies"], results["novel"], results["unique"]) == (2, 0.5, 0.75)
    assert results["lengths"]["mean"] == pytest.approx((4 + 7 + 4 + 0) / 4)
    assert evaluate(["it rains .", "x", "y"], REFS, TRAIN)["novel"] == pytest.approx(2 / 3)
    assert results["vocabulary"] == 9
    # BLEU-2: "a dog runs .": all 4 words, 2 of 3 bigrams, nearest length 5; the blank line counts 0.
    # "the men sat on a horse .": 7 words, 4 of 6 bigrams (not "the men", "men sat"), nearest length 7.
    twice, once = math.exp(1 - 5 / 4) * math.sqrt(2 / 3), math.sqrt(4 / 6)
    assert results["bleu"]["2"] == pytest.approx((2 * twice + once) / 4, rel=1e-9)


def test_the_protocol_states_what_the_scores_depend_on() -> None:
    protocol = evaluate(HYPS, [*REFS, " "], TRAIN, seed=3, provenance={"temperature": 0.7})["protocol"]
    assert (
        protocol
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
        == protocol
    )


def test_real_text_is_scored_by_the_same_functions() -> None:
    results = evaluate(HYPS, REFS, TRAIN)
    alone = evaluate(random_subset(TRAIN, 4, seed=0), REFS)
    for key in ("bleu", "self_bleu", "sacrebleu", "distinct", "unique", "lengths"):
        assert results["real"][key] == alone[key]
    assert alone["real"] is None
    assert alone["novel"] is None


def test_the_real_sample_is_seeded_and_without_repeats() -> None:
    train = [str(i) for i in range(101)]
    first = random_subset(train, 17, seed=5)
    assert first == random_subset(train, 17, seed=5) != random_subset(train, 17, seed=6)
    assert len(set(first)) == 17
    assert random_subset(train, 200, seed=5) == train


def test_every_score_has_its_interval_and_lies_in_it() -> None:
    results = evaluate(many(60, 0), many(50, 1), many(70, 2))
    found = results["intervals"]
    assert set(found) == {
        *("bleu", "self_bleu", "sacrebleu", "distinct", "entropy", "unique"),
        *("zipf", "coverage", "vocabulary"),
        *("novel", "copying", "jsd", "ms_jaccard", "length_distance", "frechet", "mauve", "lm"),
        "classifier",
    }
    inside = []
    for keys, interval in flat(found):
        value = results
        for key in keys:
            value = value[key]
        inside.append(interval[0] <= value <= interval[1])
        assert interval[0] < interval[1] or value in (0.0, 1.0), keys
    assert sum(inside) >= len(inside) - 1  # a percentile interval of a smoothed score may lie beside it
    for row in ("real", "baseline"):
        assert set(results[row]["intervals"]) == set(found)


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


def test_copying_by_hand_and_that_of_real_text_is_of_the_references() -> None:
    # longest common substrings: "a dog runs ." 4; "the men sat on a horse .": "a horse ." 3; 4; blank 0
    results = evaluate(HYPS, REFS, TRAIN)
    assert results["copying"] == {"longest_mean": 11 / 4, "longest_max": 4, "overlap": 2 / 4}
    # 3 of "a dog runs fast .", 3 of "the cat sat on a mat .", two substrings of 3 of "two men ride a horse ."
    real = results["real"]
    assert (real["copies"], real["novel"]) == (0, 1.0)
    assert real["copying"] == {"longest_mean": 3.0, "longest_max": 3, "overlap": 0.0}
    without = evaluate(HYPS, REFS)
    assert (without["copying"], without["copies"], without["baseline"]) == (None, None, None)


def test_the_language_models_score_in_both_directions() -> None:
    refs = many(40, 1)
    results = evaluate(many(60, 0), refs, many(70, 2))
    vocabulary = build_references(refs).vocabulary
    encoded, hyps = vocabulary.encode(refs), vocabulary.encode(many(60, 0))
    word_ids = np.unique(encoded.ids)
    model, reverse = kneser_ney.fit(encoded, word_ids), kneser_ney.fit(hyps, word_ids)
    found = results["lm"]
    assert found["score"] == pytest.approx(model.nll(hyps).sum() / (hyps.lengths + 1).sum())
    assert found["reverse"] == pytest.approx(reverse.nll(encoded).sum() / (encoded.lengths + 1).sum())
    assert found["perplexity"] == pytest.approx(math.exp(found["score"]))
    assert evaluate([f"z {refs[0].split()[0]}", "z z"], refs)["lm"]["unknown"] == 3


def test_without_training_text_halves_of_the_references_are_compared() -> None:
    refs = many(101, 3)
    results = evaluate(many(60, 0), refs)
    halves = results["reference_halves"]
    assert halves["n"] == 50
    assert set(halves) >= {"jsd", "ms_jaccard", "length_distance", "frechet", "classifier", "intervals"}
    order = np.random.default_rng(0).permutation(101)
    half, rest = ([refs[i] for i in part] for part in (order[:50], order[50:]))
    alone = evaluate(half, rest)
    for key in ("jsd", "ms_jaccard", "length_distance", "frechet", "classifier"):
        assert halves[key] == alone[key]
    assert evaluate(many(60, 0), refs, many(30, 4))["reference_halves"] is None
    assert evaluate(HYPS, REFS[:3])["reference_halves"] is None  # one sentence is no half
    assert "halves of the references" in render(results, "x")


def test_several_sets_are_truncated_to_the_smallest() -> None:
    first, second = many(9, 0), many(6, 1)
    results = compare(
        [SentenceSet("first", first), SentenceSet("second", second)], build_references(REFS, TRAIN)
    )
    assert results["protocol"]["n"] == 6
    assert [row["name"] for row in results["rows"]] == ["first", "second"]
    assert results["bleu"] == results["rows"][0]["bleu"] == evaluate(first[:6], REFS)["bleu"]
    assert results["rows"][1]["self_bleu"] == evaluate(second, REFS)["self_bleu"]
    text = render(results, "unused")
    assert "unused" not in text
    assert text.count("\nsecond ") == text.count("\nfirst ") > 5
    with pytest.raises(UserError, match="1 sentence to score"):
        compare([SentenceSet("first", first), SentenceSet("second", second[:1])], build_references(REFS))


def test_the_most_repeated_sentences_are_listed() -> None:
    results = evaluate(["b  a", "c"] * 2 + ["b a", "d"], REFS)
    assert results["repeated"] == [{"sentence": "b a", "count": 3}, {"sentence": "c", "count": 2}]
    assert "     3 × b a\n     2 × c\n" in render(results, "x")


def test_the_baseline_is_a_row_of_its_own_sentences() -> None:
    results = evaluate(HYPS, REFS, TRAIN, seed=4)
    lines = baseline_sample(TRAIN, 4, seed=4)
    assert results["baseline"]["self_bleu"] == evaluate(lines, REFS)["self_bleu"]


def test_a_model_adds_its_likelihoods() -> None:
    results = evaluate(HYPS, REFS, nll_test=Likelihood(30.0, 15, 3), nll_gen=Likelihood(8.0, 16, 4))
    assert (results["nll_test"], results["nll_gen"]) == (2.0, 0.5)
    assert results["likelihood"]["test"]["perplexity"] == pytest.approx(math.exp(2))
    assert results["likelihood"]["test"]["nats_per_sentence"] == pytest.approx(10.0)
    without = evaluate(HYPS, REFS)
    assert without["nll_test"] is without["nll_gen"] is None


def test_a_grammar_scores_the_samples() -> None:
    results = evaluate(
        ["h", "x", "t", "edge"], ["h", "t"], ["h", "t"], nll_test=Likelihood(3.0, 4, 2), grammar=Coin()
    )
    assert results["grammar"] == {
        "name": "coin",
        "valid": 0.75,
        "nll": pytest.approx(math.log(2)),
        "entropy": pytest.approx(math.log(2)),
        "test_nll": pytest.approx(math.log(2)),
        "ratio": pytest.approx(1.5 / math.log(2)),
    }
    assert results["real"]["grammar"]["valid"] == 1.0


def test_a_grammar_that_derives_nothing_leaves_no_infinity() -> None:
    results = evaluate(["x", "y"], ["x"], grammar=Coin())
    assert (results["grammar"]["valid"], results["grammar"]["nll"], results["grammar"]["test_nll"]) == (
        0,
        None,
        None,
    )


def test_real_coco_text_scores_as_measured_before(data_dir: Path) -> None:
    train, test = (
        (data_dir / f"text/coco_{part}.txt").read_text(encoding="utf-8").splitlines()
        for part in ("train", "test")
    )
    results = evaluate(train, test, train)
    assert list(results["bleu"].values()) == pytest.approx([0.740, 0.520, 0.337, 0.218], abs=5e-4)
    assert list(results["self_bleu"].values()) == pytest.approx([0.892, 0.747, 0.574, 0.416], abs=6e-4)
    assert results["real"]["bleu"] == results["bleu"]
    assert results["novel"] == 0.0


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


def test_a_jackknife_interval_is_cut_at_the_range_of_its_metric() -> None:
    # J = 2: mean of .99 and .95 is .97, variance 1/2 · (.02² + .02²) = .0004, half 2.093 · .02 = .0419
    values, found = np.array([0.99, 0.99, 0.95]), scores.MetricsRow()
    for key in ("unique", "zipf", "entropy.2", "self_bleu.3"):
        found.add_set_metric(key, values)
    low, high = 0.99 - 2.093024 * 0.02, 0.99 + 2.093024 * 0.02
    assert found.intervals["unique"] == [pytest.approx(low), 1.0]
    assert found.intervals["self_bleu"]["3"] == [pytest.approx(low), 1.0]
    assert found.intervals["zipf"] == pytest.approx([low, high])
    assert found.intervals["entropy"]["2"] == pytest.approx([low, high])
    found.add_set_metric("distinct.1", 1 - values)
    assert found.intervals["distinct"]["1"] == [0.0, pytest.approx(1 - low)]
