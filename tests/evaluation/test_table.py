"""The table: rows in their order, within its width, with intervals below and the protocol at the end."""

import math

from seqgen.evaluation.table import HALF_INTERVAL, WIDTH, render
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
    results = evaluate(
        HYPS, REFS, TRAIN, provenance={"references_from": "x" * 30 + "/test.txt", "temperature": 1.0}
    )
    text = render(results, "runs/" + "long" * 30)
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    real, baseline, samples = lines[2], lines[4], lines[6]
    assert lines[3].startswith(HALF_INTERVAL)
    assert baseline.startswith("n-gram baseline")
    assert real.startswith("real text")
    assert samples.startswith("…")
    assert real.split()[2:6] == [f"{results['real']['bleu'][n]:.4f}" for n in "2345"]
    assert samples.split()[1:5] == [f"{results['bleu'][n]:.4f}" for n in "2345"]
    flat = " ".join(text.split())
    for fact in (
        "N 4 (1 blank, which score 0)",
        "3 references (xxx",
        "treebank tokens",
        "temperature 1",
        "seed 0",
    ):
        assert fact in flat
    assert results["sacrebleu"]["signature"] in flat
    assert "grammar" not in text
    assert "likelihood under" not in text


def test_the_table_shows_likelihood_and_grammar_where_they_are_known() -> None:
    results = evaluate(
        ["h", "t"],
        ["h", "t"],
        ["h", "t"],
        nll_test=Likelihood(3.0, 4, 2),
        nll_gen=Likelihood(2.0, 4, 2),
        grammar=Coin(),
    )
    lines = render(results, "coin run").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("likelihood under the model"))
    assert lines[at + 2].split() == ["coin", "run", "0.7500", f"{math.exp(0.75):.2f}", "1.500", "0", "0.5000"]
    assert "entropy" in lines[at + 5]


def test_half_of_the_interval_is_below_in_the_format_of_the_score() -> None:
    results = evaluate(HYPS, REFS)
    results["bleu"]["2"], results["intervals"]["bleu"]["2"] = 0.5, [0.25, 0.5]
    results["frechet"], results["intervals"]["frechet"] = 0.0123, [0.01, 0.02]
    results["vocabulary"], results["intervals"]["vocabulary"] = 1234, [1200.0, 1300.0]
    lines = render(results, "x").splitlines()
    blocks = {line: lines[i:] for i, line in enumerate(lines) if i == 0 or not lines[i - 1]}
    similarity, words, distance = (
        next(block for title, block in blocks.items() if title.startswith(name))
        for name in ("similarity to", "words", "distance")
    )
    assert similarity[2].split()[:2] == ["x", "0.5000"]
    assert similarity[3].split()[3] == "0.1250"
    assert (words[2].split()[1], words[3].split()[3]) == ("1,234", "50")
    assert (distance[2].split()[-2], distance[3].split()[-1]) == ("1.230", "0.500")  # × 100


def test_the_sweep_is_a_block_of_its_own() -> None:
    results = evaluate(HYPS, REFS)
    point = {
        "name": "runs/a",
        "temperature": 0.5,
        "bleu_5": 0.1,
        "self_bleu_5": 0.2,
        "lm": 3.0,
        "reverse_lm": 4.0,
    }
    results["sweep"] = [point, point | {"temperature": 1.0, "bleu_5": 0.3}]
    lines = render(results, "runs/a").splitlines()
    at = lines.index("temperature sweep")
    assert lines[at + 2].split() == ["runs/a", "at", "0.5", "0.1000", "0.2000", "3.0000", "4.0000"]
    assert lines[at + 3].split()[2:4] == ["1", "0.3000"]
    assert sum("at 0.5" in line for line in lines) == 1


def test_repeated_sentences_are_named_by_their_set() -> None:
    results = evaluate(["", "", "a b", "a b"], REFS)
    assert "most repeated sentences\n     2 × (blank)\n     2 × a b\n" in render(results, "x")
    rows = [{**results, "name": "first"}, {**results, "name": "second", "repeated": []}]
    text = render({**results, "rows": rows}, "x")
    assert "most repeated sentences of first\n" in text
    assert "of second" not in text


def test_an_order_without_ngrams_is_said_and_is_no_zero() -> None:
    results = evaluate(["a b c", "b c", "c"], ["a b c", "b a"], tokenisation="whitespace")
    assert [results["jsd"][n] is None for n in "2345"] == [False, False, True, True]
    assert [results["ms_jaccard"][n] is None for n in "2345"] == [False, False, True, True]
    assert [results["distinct"][n] is None for n in "1234"] == [False, False, False, True]
    text = " ".join(render(results, "x").split())
    assert "no n-gram of this order: distinct-4, H-4, JSD-4, JSD-5, MS-Jaccard-4, MS-Jaccard-5" in text
    assert "no n-gram" not in render(evaluate(["a b c d e"] * 2, ["a b c d e"]), "x")
