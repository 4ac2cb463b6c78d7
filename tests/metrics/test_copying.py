"""Longest common substrings: against comparing all substrings, and markovify's rule by hand."""

import random
from pathlib import Path

import numpy as np
import pytest

from seqgen.metrics.copying import longest_common_substring, overlaps
from seqgen.ngrams.ngrams import encode_sentences


def longest(text: list[list[str]], train: list[list[str]]) -> list[int]:
    vocabulary: dict[str, int] = {}
    return longest_common_substring(
        encode_sentences(text, vocabulary), encode_sentences(train, vocabulary)
    ).tolist()


def slow(text: list[list[str]], train: list[list[str]]) -> list[int]:
    substrings = {tuple(t[i:j]) for t in train for i in range(len(t)) for j in range(i + 1, len(t) + 1)}
    return [
        max(
            (j - i for i in range(len(s)) for j in range(i + 1, len(s) + 1) if tuple(s[i:j]) in substrings),
            default=0,
        )
        for s in text
    ]


def test_by_hand() -> None:
    train = [["a", "b", "c", "d"], ["c", "x"]]
    text = [["b", "c", "d", "x"], ["d", "c", "x"], ["a", "c"], ["y"], [], ["z", "a", "b", "c", "d", "c", "x"]]
    # no substring crosses from one training sentence into the next: "c d c x" does
    assert longest(text, train) == [3, 2, 1, 0, 0, 4]


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_comparing_all_substrings(seed: int) -> None:
    rng = random.Random(seed)
    words, size = rng.choice([1, 2, 3, 9]), rng.choice([1, 2, 5, 9, 17])
    text, train = (
        [[str(rng.randrange(words)) for _ in range(rng.randint(0, size))] for _ in range(rng.randint(1, 7))]
        for _ in range(2)
    )
    assert longest(text, train) == slow(text, train)


def test_nothing_in_common() -> None:
    assert longest([["a"], []], [[]]) == [0, 0]
    assert longest([[]], [["a"]]) == [0]


def test_long_substrings() -> None:
    line = [str(i % 7) for i in range(3001)]
    assert longest([line[:-1], line[5:]], [line]) == [3000, 2996]


def test_markovifys_rule_by_hand() -> None:
    # 10 words: more than 7; 40 words: more than 15; 5 words: 0.7 · 5 = 3.5 rounds to 4, so all 5;
    # 1 and 2 words: all of them; a blank sentence never
    lengths = np.array([10, 10, 40, 40, 5, 5, 1, 1, 2, 2, 0])
    longest = np.array([7, 8, 15, 16, 4, 5, 0, 1, 1, 2, 0])
    assert overlaps(longest, lengths).tolist() == [
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_real_captions_hardly_overlap_and_copies_do(data_dir: Path) -> None:
    train, test = (
        [
            line.split()
            for line in (data_dir / f"text/coco_{part}.txt").read_text(encoding="utf-8").splitlines()
        ]
        for part in ("train", "test")
    )
    vocabulary: dict[str, int] = {}
    encoded_train, held_out = encode_sentences(train, vocabulary), encode_sentences(test, vocabulary)
    found = longest_common_substring(held_out, encoded_train)
    assert found[:200].tolist() == slow(test[:200], train)
    assert overlaps(found, held_out.lengths).mean() < 0.01
    assert (longest_common_substring(encoded_train[:100], encoded_train) == encoded_train[:100].lengths).all()
