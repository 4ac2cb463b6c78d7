"""BLEU and self-BLEU: by hand, against NLTK, against the published tables, and what must not change them."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgen.core.errors import UserError
from seqgen.metrics.bleu import (
    bleu,
    bleu_of_encoded,
    chunks,
    closest_lengths,
    closest_other_lengths,
    self_bleu,
)
from seqgen.metrics.tokenization import tokeniser
from seqgen.ngrams.ngrams import encode_sentences, join

METHOD1 = SmoothingFunction().method1
ORDERS = range(2, 6)


def nltk_bleu(hyp: list[str], refs: list[list[str]], n: int) -> float:
    return sentence_bleu(refs, hyp, (1 / n,) * n, METHOD1)


def random_text(rng: random.Random, sentences: int, words: int, longest: int) -> list[list[str]]:
    """Few words, so that n-grams repeat; blank lines, single words and repeated sentences are likely."""
    text = [[str(rng.randrange(words)) for _ in range(rng.randint(0, longest))] for _ in range(sentences)]
    return text + rng.sample(text, sentences // 5) + [[]]


def lines(path: Path) -> list[list[str]]:
    return [line.lower().split() for line in path.read_text(encoding="utf-8").splitlines()]


def means(scores: dict[int, np.ndarray]) -> list[float]:
    return [float(scores[n].mean()) for n in ORDERS]


def test_bleu_by_hand() -> None:
    # "the cat the cat on" has 5 words, the references 4 and 7: nearest 4, so no brevity penalty.
    # unigrams: the ×2 clipped to 2 (second ref), cat ×2 clipped to 1, on ×1: 4/5
    # bigrams: "the cat" ×2 clipped to 1, "cat the" 0, "cat on" 1: 2/4;  trigrams: none of 3, so 0.1/3
    refs = [["a", "cat", "on", "it"], ["the", "dog", "saw", "the", "cat", "in", "it"]]
    scores = bleu([["the", "cat", "the", "cat", "on"]], refs, max_n=3)
    assert scores[2][0] == pytest.approx(math.sqrt(4 / 5 * 2 / 4), rel=1e-12)
    assert scores[3][0] == pytest.approx((4 / 5 * 2 / 4 * 0.1 / 3) ** (1 / 3), rel=1e-12)


def test_brevity_penalty_by_hand() -> None:
    # 3 words; refs of 2 and 4 words are equally near and the shorter counts: no penalty.
    # Against the one of 4 alone exp(1 - 4/3).
    hyp = [["a", "b", "c"]]
    near, far = ["a", "b"], ["a", "b", "c", "d"]
    assert bleu(hyp, [near, far])[2][0] == pytest.approx(1.0, rel=1e-12)
    assert bleu(hyp, [far])[2][0] == pytest.approx(math.exp(-1 / 3), rel=1e-12)


def test_self_bleu_by_hand() -> None:
    # "a a b" against "a b" and "c": 2 of 3 unigrams (a clipped to 1), 1 of 2 bigrams; nearest length 2.
    # "a b" against "a a b" and "c": lengths 3 and 1 are equally near, the shorter counts; all matches: 1.
    # "c" is in no other sentence: 0.
    scores = self_bleu([["a", "a", "b"], ["a", "b"], ["c"]], max_n=2)
    assert scores[2].tolist() == pytest.approx([math.sqrt(2 / 3 * 1 / 2), 1.0, 0.0], rel=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_bleu_is_nltk_on_random_text(seed: int) -> None:
    rng = random.Random(seed)
    words, longest = rng.choice([2, 3, 7, 31]), rng.choice([3, 5, 11])
    hyps, refs = random_text(rng, 17, words, longest), random_text(rng, rng.choice([1, 13]), words, longest)
    scores = bleu(hyps, refs)
    for n in ORDERS:
        expected = [nltk_bleu(hyp, refs, n) for hyp in hyps]
        np.testing.assert_allclose(scores[n], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_self_bleu_is_nltk_without_the_sentence_itself(seed: int) -> None:
    rng = random.Random(100 + seed)
    text = random_text(rng, rng.choice([2, 5, 19]), rng.choice([2, 3, 7, 31]), rng.choice([3, 5, 11]))
    scores = self_bleu(text)
    for n in ORDERS:
        expected = [nltk_bleu(text[i], text[:i] + text[i + 1 :], n) for i in range(len(text))]
        np.testing.assert_allclose(scores[n], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("hyp", "ref"), [([], ["a"]), ([], []), (["a"], []), (["a"], ["a"]), (["b"], ["a"]), (["a", "a"], ["a"])]
)
def test_the_smallest_sentences_score_as_in_nltk(hyp: list[str], ref: list[str]) -> None:
    scores = bleu([hyp], [ref])
    for n in ORDERS:
        assert scores[n][0] == pytest.approx(nltk_bleu(hyp, [ref], n), abs=1e-12)


def test_anchor_values_of_bleu(data_dir: Path) -> None:
    train, test = lines(data_dir / "text/coco_train.txt"), lines(data_dir / "text/coco_test.txt")
    expected = {
        (10_000, 10_000): [0.708728, 0.487566, 0.310250, 0.202173],
        (1_000, 500): [0.469370, 0.255697, 0.146027, 0.095941],
        (40, 10_000): [0.647645, 0.398276, 0.220903, 0.136912],
    }
    for (hyps, refs), values in expected.items():
        assert means(bleu(train[:hyps], test[:refs])) == pytest.approx(values, rel=0, abs=5.1e-7)


def test_anchor_values_of_self_bleu(data_dir: Path) -> None:
    train = lines(data_dir / "text/coco_train.txt")
    expected = {
        500: [0.669374, 0.443557, 0.275250, 0.182798],
        2_000: [0.778021, 0.579475, 0.391590, 0.266181],
        10_000: [0.870385, 0.717076, 0.536352, 0.385691],
    }
    for n, values in expected.items():
        assert means(self_bleu(train[:n])) == pytest.approx(values, rel=0, abs=5.1e-7)


PUBLISHED = {  # Texygen's README: test BLEU-2 … 5, self-BLEU-2 … 5
    "mle": [0.731, 0.497, 0.305, 0.189, 0.916, 0.769, 0.583, 0.408],
    "seq": [0.745, 0.498, 0.294, 0.180, 0.950, 0.840, 0.670, 0.489],
    "maligan": [0.673, 0.432, 0.257, 0.159, 0.918, 0.781, 0.606, 0.437],
    "rank": [0.743, 0.467, 0.264, 0.156, 0.959, 0.882, 0.762, 0.618],
    "leakgan": [0.746, 0.528, 0.355, 0.230, 0.966, 0.913, 0.848, 0.780],
    "textgan": [0.593, 0.463, 0.277, 0.207, 0.942, 0.931, 0.804, 0.746],
}


@pytest.fixture(scope="module")
def coco_test(data_dir: Path) -> list[list[str]]:
    return treebank(data_dir / "text/coco_test.txt")


def treebank(path: Path) -> list[list[str]]:
    return [*map(tokeniser("treebank"), path.read_text(encoding="utf-8").splitlines())]


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_coco_rows(data_dir: Path, coco_test: list[list[str]], model: str) -> None:
    samples = treebank(data_dir / f"texygen/{model}.txt")
    measured = means(bleu(samples, coco_test)) + means(self_bleu(samples))
    assert measured == pytest.approx(PUBLISHED[model], rel=0, abs=1e-3)


def test_the_order_of_sentences_does_not_matter() -> None:
    rng = random.Random(3)
    hyps, refs = random_text(rng, 23, 5, 9), random_text(rng, 29, 5, 9)
    shuffled = rng.sample(range(len(hyps)), len(hyps))
    before, after = bleu(hyps, refs), bleu([hyps[i] for i in shuffled], refs[::-1])
    self_before, self_after = self_bleu(hyps), self_bleu([hyps[i] for i in shuffled])
    for n in ORDERS:
        assert after[n].tolist() == before[n][shuffled].tolist()
        assert self_after[n].tolist() == self_before[n][shuffled].tolist()


def test_chunks_of_hypotheses_change_nothing() -> None:
    rng = random.Random(4)
    vocabulary: dict[str, int] = {}
    hyps, refs = (encode_sentences(random_text(rng, size, 5, 9), vocabulary) for size in (101, 2))
    whole, chunked = bleu_of_encoded(hyps, refs), bleu_of_encoded(hyps, refs, chunk_tokens=7)
    for n in ORDERS:
        assert chunked[n].tolist() == whole[n].tolist()


def test_chunks_are_bounded_and_lose_nothing() -> None:
    text = encode_sentences(random_text(random.Random(5), 101, 5, 9), {})
    parts = list(chunks(text, 20))
    assert join(parts).ids.tolist() == text.ids.tolist()
    assert join(parts).lengths.tolist() == text.lengths.tolist()
    assert max(len(part.ids) for part in parts) < 20 + 9
    assert len(parts) == -(-len(text.ids) // 20)


def test_different_sentences_are_not_their_own_references() -> None:
    sentences = [
        ["a", "b", "c", "d", "e", "f"],
        ["a", "b", "c", "x", "y", "z"],
        ["u", "v", "w", "d", "e", "f"],
    ]
    for values in self_bleu(sentences).values():
        assert (values < 1).all()
    for values in self_bleu(sentences * 2).values():  # each now occurs twice
        assert values.tolist() == pytest.approx([1.0] * 6, rel=1e-12)


def test_closest_lengths() -> None:
    lengths = np.array([0, 4, 5, 6, 9, 100])
    assert closest_lengths(lengths, np.array([8, 4, 4])).tolist() == [
        4,
        4,
        4,
        4,
        8,
        8,
    ]  # 6: the shorter of 4, 8
    # 3 occurs once: 2 and 4 are equally close, the shorter counts. 9 occurs once: 4. 4 occurs twice: itself.
    assert closest_other_lengths(np.array([3, 2, 4, 4, 9])).tolist() == [2, 3, 4, 4, 4]


def test_nothing_to_compare_with_is_refused() -> None:
    with pytest.raises(UserError, match="none given, at least 1"):
        bleu([["a"]], [])
    with pytest.raises(UserError, match="1 given, at least 2"):
        self_bleu([["a"]])


def test_no_hypotheses_have_no_scores() -> None:
    assert {n: len(values) for n, values in bleu([], [["a"]]).items()} == {2: 0, 3: 0, 4: 0, 5: 0}
