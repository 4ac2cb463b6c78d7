"""Splitting by hashes: no sentence in two splits, copies together, test sets unchanged."""

from pathlib import Path

import numpy as np
import pytest

from seqgen.data import splits
from seqgen.data.splits import Splits, split


def hashes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def test_held_out_files_stay_and_train_loses_what_they_hold() -> None:
    train, valid, test = hashes(1, 2, 3, 3, 4, 5, 5), hashes(3, 6, 7), hashes(5, 5, 7, 8)
    found = split(train, valid, test, seed=0)
    assert found.test.tolist() == [0, 1, 2, 3]  # unchanged, its own copies too
    assert found.valid.tolist() == [0, 1]  # 7 stands in test
    assert found.train.tolist() == [0, 1, 4]  # 3 stands in valid, 5 in test
    assert found.removed == {"train": 4, "valid": 1}


def test_a_sentence_that_valid_lost_to_test_is_no_reason_to_keep_it_in_train() -> None:
    found = split(hashes(1, 2), hashes(1, 9), hashes(1), seed=0)
    assert found.train.tolist() == [1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_split_has_no_sentence_in_common_and_loses_none(seed: int) -> None:
    train = np.random.default_rng(7).integers(0, 500, 1_009).astype(np.uint64)
    found = split(train, None, None, seed=seed)
    rows = [found.train, found.valid, found.test]
    assert sorted(np.concatenate(rows).tolist()) == list(range(1_009))
    sets = [set(train[each].tolist()) for each in rows]
    assert sum(map(len, sets)) == len(set.union(*sets))
    assert all((np.diff(each) > 0).all() for each in rows)
    # 5 % of 1,009 lines is 50; a group of copies that no longer fits ends it a little earlier.
    assert 40 <= len(found.valid) <= 50
    assert 40 <= len(found.test) <= 50
    assert found.removed == {"train": 0, "valid": 0}


def test_the_seed_determines_the_split() -> None:
    train = np.arange(211, dtype=np.uint64)
    one, same, other = (split(train, None, None, seed=seed) for seed in (3, 3, 4))
    assert one.test.tolist() == same.test.tolist() != other.test.tolist()


def test_a_random_split_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "HELD_OUT_MAX", 7)
    found = split(np.arange(1_000, dtype=np.uint64), None, None, seed=0)
    assert [len(found.train), len(found.valid), len(found.test)] == [986, 7, 7]


def test_only_missing_splits_are_taken_at_random() -> None:
    train, test = np.arange(101, dtype=np.uint64), hashes(7, 200)
    found = split(train, None, test, seed=0)
    assert [len(found.train), len(found.valid), len(found.test)] == [95, 5, 2]
    assert found.removed == {"train": 1, "valid": 0}
    assert 7 not in found.valid


def test_very_common_sentences_stay_in_train() -> None:
    train = hashes(*[0] * 60, *range(1, 41))
    for seed in range(5):
        found = split(train, None, None, seed=seed)
        assert set(range(60)) <= set(found.train.tolist())
        assert [len(found.valid), len(found.test)] == [5, 5]


@pytest.mark.parametrize(
    ("numbers", "sizes"),
    [
        ((1,), [1, 0, 0]),
        ((1, 1, 1, 1), [4, 0, 0]),
        ((1, 2), [2, 0, 0]),
        ((1, 2, 3), [1, 1, 1]),
        ((1, 1, 2, 2, 3, 3), [6, 0, 0]),  # one line each is too little for any pair
    ],
)
def test_tiny_corpora_keep_something_to_train_on(numbers: tuple[int, ...], sizes: list[int]) -> None:
    found = split(hashes(*numbers), None, None, seed=0)
    assert [len(found.train), len(found.valid), len(found.test)] == sizes


def test_saved_splits_load_equal(tmp_path: Path) -> None:
    found = split(hashes(1, 2, 3, 4), hashes(4, 5), hashes(), seed=0)
    found.save(tmp_path)
    loaded = Splits.load(tmp_path)
    for name in splits.NAMES:
        assert getattr(loaded, name).tolist() == getattr(found, name).tolist()
    assert loaded.removed == found.removed == {"train": 1, "valid": 0}
