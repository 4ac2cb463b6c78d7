"""The table: rows in their order, within its width, with intervals below and the protocol at the end."""

import math

from seqgen.evaluation.table import SPREAD, WIDTH, render
from seqgen.evaluation.text import evaluate
from seqgen.generation.likelihood import Likelihood

REFS = ["a dog runs fast .", "the cat sat on a mat .", "two men ride a horse ."]
TRAIN = ["a dog runs .", "the cat sat .", "two men ride .", "a man rides a horse .", "it rains ."]
HYPS = ["a dog runs .", "the men sat on a horse .", "a dog runs .", ""]


class Coin:
    """Derives "h" and "t", each with probability 1/2; takes "edge" for valid, too, without deriving it."""

    name = "coin"

    def log_prob(self, sentence: str) -> float:
        return -math.log(2) if sentence in ("h", "t") else -math.inf

    def entropy(self) -> float:
        return math.log(2)

    def valid(self, sentence: str) -> bool:
        return sentence in ("h", "t", "edge")


def test_the_table_shows_real_text_above_the_samples_within_its_width() -> None:
    report = evaluate(
        HYPS, REFS, TRAIN, stated={"references_from": "x" * 30 + "/test.txt", "temperature": 1.0}
    )
    text = render(report, "runs/" + "long" * 30)
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    real, baseline, samples = lines[2], lines[4], lines[6]
    assert lines[3].startswith(SPREAD)
    assert baseline.startswith("n-gram baseline")
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
    assert "likelihood under" not in text


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
    assert lines[at + 2].split() == ["coin", "run", "0.7500", f"{math.exp(0.75):.2f}", "1.500", "0", "0.5000"]
    assert "entropy" in lines[at + 5]


def test_half_the_interval_stands_below_in_the_figures_own_form() -> None:
    report = evaluate(HYPS, REFS)
    report["bleu"]["2"], report["intervals"]["bleu"]["2"] = 0.5, [0.25, 0.5]
    report["frechet"], report["intervals"]["frechet"] = 0.0123, [0.01, 0.02]
    report["vocabulary"], report["intervals"]["vocabulary"] = 1234, [1200.0, 1300.0]
    lines = render(report, "x").splitlines()
    blocks = {line: lines[i:] for i, line in enumerate(lines) if i == 0 or not lines[i - 1]}
    likeness, words, distance = (
        next(block for title, block in blocks.items() if title.startswith(name))
        for name in ("likeness to", "words", "distance")
    )
    assert likeness[2].split()[:2] == ["x", "0.5000"]
    assert likeness[3].split()[3] == "0.1250"
    assert (words[2].split()[1], words[3].split()[3]) == ("1,234", "50")
    assert (distance[2].split()[-1], distance[3].split()[-1]) == ("1.230", "0.500")  # × 100


def test_the_sweep_is_a_block_of_its_own() -> None:
    report = evaluate(HYPS, REFS)
    point = {
        "name": "runs/a",
        "temperature": 0.5,
        "bleu_5": 0.1,
        "self_bleu_5": 0.2,
        "lm": 3.0,
        "reverse_lm": 4.0,
    }
    report["sweep"] = [point, point | {"temperature": 1.0, "bleu_5": 0.3}]
    lines = render(report, "runs/a").splitlines()
    at = lines.index("temperature sweep")
    assert lines[at + 2].split() == ["runs/a", "at", "0.5", "0.1000", "0.2000", "3.0000", "4.0000"]
    assert lines[at + 3].split()[2:4] == ["1", "0.3000"]
    assert sum("at 0.5" in line for line in lines) == 1


def test_repeated_sentences_are_named_by_their_set() -> None:
    report = evaluate(["", "", "a b", "a b"], REFS)
    assert "most repeated sentences\n     2 × (blank)\n     2 × a b\n" in render(report, "x")
    rows = [{**report, "name": "first"}, {**report, "name": "second", "repeated": []}]
    text = render({**report, "rows": rows}, "x")
    assert "most repeated sentences of first\n" in text
    assert "of second" not in text
