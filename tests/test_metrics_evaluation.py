"""The report as a whole: its keys, what stands beside it, and the table made of it."""

import json
import math
from pathlib import Path

import pytest

from seqgen.errors import UserError
from seqgen.metrics.evaluation import evaluate, real_sample
from seqgen.metrics.likelihood import Likelihood
from seqgen.metrics.table import WIDTH, render

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
    said = evaluate(HYPS, [*REFS, " "], TRAIN, seed=3, protocol={"temperature": 0.7})["protocol"]
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


def test_the_table_shows_real_text_above_the_samples_within_its_width() -> None:
    report = evaluate(
        HYPS, REFS, TRAIN, protocol={"references_from": "x" * 30 + "/test.txt", "temperature": 1.0}
    )
    text = render(report, "runs/" + "long" * 30)
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    real, samples = lines[2], lines[3]
    assert real.startswith("real text")
    assert samples.startswith("…")
    assert real.split()[2:6] == [f"{report['real']['bleu'][n]:.4f}" for n in "2345"]
    assert samples.split()[1:5] == [f"{report['bleu'][n]:.4f}" for n in "2345"]
    flat = " ".join(text.split())
    for fact in (
        "N 4 (1 blank, which score 0)",
        "3 references (xxx",
        "treebank tokens",
        "temperature 1",
        "seed 0",
    ):
        assert fact in flat
    assert report["sacrebleu"]["signature"] in flat
    assert "grammar" not in text
    assert "likelihood" not in text


def test_the_table_shows_likelihood_and_grammar_where_they_are_known() -> None:
    report = evaluate(
        ["h", "t"],
        ["h", "t"],
        ["h", "t"],
        nll_test=Likelihood(3.0, 4, 2),
        nll_gen=Likelihood(2.0, 4, 2),
        grammar=Coin(),
    )
    lines = render(report, "coin run").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("likelihood under the model"))
    assert lines[at + 2].split() == ["real", "text", "-", "-", "-", "-", "-"]
    assert lines[at + 3].split() == ["coin", "run", "0.7500", f"{math.exp(0.75):.2f}", "1.500", "0", "0.5000"]
    assert "entropy" in lines[at + 6]
