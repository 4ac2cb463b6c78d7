"""N-gram counts against those of a dictionary."""

from collections import Counter

import numpy as np
import pytest

from seqgen.ngrams.ngrams import (
    EncodedText,
    NgramCounts,
    count_ngrams,
    encode_sentences,
    join,
    stable_order,
    sum_by_key,
)

SENTENCES = [s.split() for s in ["a b a b a", "", "b a b", "c", "a b a b a", "c c c c c c c"]]


def as_counters(
    sentences: list[list[str]], grams: NgramCounts, names: dict[tuple[str, ...], int]
) -> list[Counter[int]]:
    """Count every sentence's n-grams with a loop, numbered by `names`."""
    return [Counter(names[tuple(s[i : i + grams.n])] for i in range(len(s) - grams.n + 1)) for s in sentences]


def test_counts_equal_a_dictionary_of_tuples_for_every_order() -> None:
    text = encode_sentences(SENTENCES, {})
    for grams in count_ngrams(text, 5):
        entries = [(s, int(c)) for s, c in zip(grams.sentence.tolist(), grams.count.tolist(), strict=True)]
        expected = [
            Counter(tuple(s[i : i + grams.n]) for i in range(len(s) - grams.n + 1)) for s in SENTENCES
        ]
        assert Counter(entries) == Counter(
            (row, count) for row, counter in enumerate(expected) for count in counter.values()
        )
        total = sum(expected, Counter())
        assert sorted(grams.total().tolist()) == sorted(total.values())
        holders = Counter(gram for counter in expected for gram in counter)
        assert sorted(grams.sentences().tolist()) == sorted(holders.values())


def test_n_grams_do_not_cross_from_one_sentence_to_the_next() -> None:
    text = encode_sentences([["a", "b"], ["c", "d"]], {})
    assert [len(grams.first) for grams in count_ngrams(text, 3)] == [4, 2, 0]


def test_keep_leaves_out_what_cannot_be_shared() -> None:
    # Shared unigrams: a, b. Of the bigrams "a b", "b x", "y a", "a b" only "a b" consists of shared words.
    text = encode_sentences([["a", "b", "x"], ["y", "a", "b"]], {})
    orders = list(count_ngrams(text, 2, keep=lambda grams: grams.sentences() > 1))
    assert orders[1].count.tolist() == [1, 1]
    assert orders[1].sentence.tolist() == [0, 1]
    assert orders[1].first.tolist() == [0]


@pytest.mark.parametrize("bound", [7, 2**62])  # packed in 64 bits, and too large to be packed
def test_stable_order_keeps_equal_keys_in_their_order(bound: int) -> None:
    keys = np.array([5, 3, 5, 0, 3, 5, 6, 0])
    assert stable_order(keys, bound).tolist() == [3, 7, 1, 4, 0, 2, 5, 6]


def test_encoding_shares_the_vocabulary_and_is_the_same_from_a_stream() -> None:
    vocabulary: dict[str, int] = {}
    first = encode_sentences(SENTENCES, vocabulary)
    second = encode_sentences(iter(SENTENCES[::-1]), vocabulary)
    assert sorted(vocabulary.values()) == [0, 1, 2]
    assert second.lengths.tolist() == first.lengths.tolist()[::-1]
    assert join([second[0:1], second[5:6]]).ids.tolist() == [2] * 7 + [0, 1, 0, 1, 0]


def test_a_slice_cuts_sentences() -> None:
    text = encode_sentences(SENTENCES, {})
    assert text[1:4].lengths.tolist() == [0, 3, 1]
    assert text[1:4].ids.tolist() == [1, 0, 1, 2]
    assert len(text[4:2]) == 0
    assert text[4:2].ids.size == 0
    with pytest.raises(ValueError, match="steps of 2"):
        text[::2]


def test_no_text_has_no_n_grams() -> None:
    empty = EncodedText(np.zeros(0, np.int64), np.zeros(0, np.int64))
    blank = encode_sentences([[], []], {})
    for text in (empty, blank):
        assert [len(grams.total()) for grams in count_ngrams(text, 3)] == [0, 0, 0]


def test_sentences_are_taken_in_the_order_asked_for() -> None:
    text = encode_sentences([["a", "b"], [], ["c"], ["b", "c", "a"]], {})
    taken = text.take(np.array([3, 1, 0, 3]))
    assert taken.lengths.tolist() == [3, 0, 2, 3]
    assert taken.ids.tolist() == [1, 2, 0, 0, 1, 1, 2, 0]
    assert len(text.take(np.zeros(0, np.int64))) == 0


def test_sum_by_key_sums_weights_by_key() -> None:
    assert sum_by_key(np.array([2, 0, 2]), np.array([1, 5, 3]), 4).tolist() == [5.0, 0.0, 4.0, 0.0]
    assert sum_by_key(np.zeros(0, np.int64), np.zeros(0), 2).tolist() == [0.0, 0.0]
