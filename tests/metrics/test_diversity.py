"""Diversity, copies and lengths, by hand and on published samples."""

from pathlib import Path

import pytest

from seqgen.metrics.diversity import copies, distinct, length_statistics, unique_fraction
from seqgen.ngrams.ngrams import EncodedText, encode_sentences


def encoded(*sentences: str) -> EncodedText:
    return encode_sentences([sentence.split() for sentence in sentences], {})


def test_distinct_by_hand() -> None:
    # words: a and b of 8. bigrams: ab ba ab | bb ba, 3 different of 5 (none goes from line to line)
    # trigrams: aba bab | bba, 3 of 3. 4-grams: abab, 1 of 1
    text = encoded("a b a b", "b b a", "a")
    assert distinct(text) == pytest.approx({1: 2 / 8, 2: 3 / 5, 3: 3 / 3, 4: 1 / 1}, rel=1e-12)


def test_distinct_of_text_without_n_grams_is_zero() -> None:
    assert distinct(encoded("a", "b", "")) == {1: 1.0, 2: 0.0, 3: 0.0, 4: 0.0}


def test_unique_counts_sentences_of_the_same_words_once() -> None:
    assert unique_fraction(["a b", "a  b ", "b a", "a b"]) == pytest.approx(2 / 4)


def test_copies_are_found_regardless_of_case_and_spaces() -> None:
    train = ["A dog.", "two cats", ""]
    assert copies(["a dog .", "two cats", "two cats", "two cat", ""], iter(train)) == 3


def test_lengths_by_hand() -> None:
    # lengths 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, median 2.5
    found = length_statistics(encoded("a", "a b", "a b c", "a b c d e f"))
    assert found["mean"] == pytest.approx(3.0)
    assert found["sd"] == pytest.approx(3.5**0.5)
    assert (found["min"], found["50%"], found["max"]) == (1.0, 2.5, 6.0)


@pytest.mark.parametrize(("model", "distinct_sentences"), [("leakgan", 7_063), ("textgan", 318)])
def test_repetition_in_published_samples(data_dir: Path, model: str, distinct_sentences: int) -> None:
    text = (data_dir / f"texygen/{model}.txt").read_text(encoding="utf-8")
    samples = [line for line in text.splitlines() if line.strip()]
    assert round(unique_fraction(samples) * len(samples)) == distinct_sentences
