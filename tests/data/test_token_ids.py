"""Sentences as ids: EOS, cutting, counts, the cache, and gathering padded batches."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data import token_ids as module
from seqgen.data.sentence_store import CHUNK_LINES, Lines, store_of
from seqgen.data.token_ids import Ids, encode_lines, pack
from seqgen.data.tokenizer import EOS, PAD, UNK, Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer

SENTENCES = ["a b c", "b", "a b a b a", "c z"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a b c", "a b", "a"], "word")  # a, b, c are 4, 5, 6


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))


def rows(ids: Ids) -> list[list[int]]:
    return [ids[i].tolist() for i in range(len(ids))]


def test_each_sentence_ends_with_eos(tokenizer: Tokenizer) -> None:
    ids = encode_lines(Lines.from_strings(SENTENCES), tokenizer)
    assert rows(ids) == [[4, 5, 6, EOS], [5, EOS], [4, 5, 4, 5, 4, EOS], [6, UNK, EOS]]
    assert (ids.truncated, ids.unknown) == (0, 1)
    assert ids.lengths().tolist() == [4, 2, 6, 3]
    assert ids.tokens.dtype == np.uint16
    assert ids[-1].tolist() == [6, UNK, EOS]


def test_a_cut_sentence_loses_its_eos_and_what_is_unknown_beyond(tokenizer: Tokenizer) -> None:
    lines = Lines.from_strings([*SENTENCES, "a b c z", "a b c"])
    ids = encode_lines(lines, tokenizer, max_length=4)
    assert rows(ids) == [
        [4, 5, 6, EOS],
        [5, EOS],
        [4, 5, 4, 5],
        [6, UNK, EOS],
        [4, 5, 6, UNK],
        [4, 5, 6, EOS],
    ]
    assert (ids.truncated, ids.unknown) == (2, 2)
    assert rows(encode_lines(lines, tokenizer, max_length=1)) == [[4], [5], [4], [6], [4], [4]]


def test_a_maximum_length_below_one_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="a maximum length of 0 leaves no token"):
        encode_lines(Lines.from_strings(["a"]), tokenizer, max_length=0)


def test_large_vocabularies_take_more_than_16_bits() -> None:
    words = [f"w{i:05}" for i in range(70_000)]
    tokenizer = train_tokenizer(words, "word")
    ids = encode_lines(Lines.from_strings(words), tokenizer)
    assert ids.tokens.dtype == np.int32
    assert ids[69_999].tolist() == [70_003, EOS]


def test_many_chunks_are_one_after_the_other(tokenizer: Tokenizer) -> None:
    lines = Lines.from_strings(["a b c", "b"] * CHUNK_LINES)
    ids = encode_lines(lines, tokenizer, max_length=3)
    assert ids.offsets[-1] == len(ids.tokens) == 5 * CHUNK_LINES
    assert rows(ids) == [[4, 5, 6], [5, EOS]] * CHUNK_LINES
    assert ids.truncated == CHUNK_LINES


def test_a_very_long_line_is_cut() -> None:
    tokenizer = train_tokenizer(["word"], "word")
    ids = encode_lines(Lines.from_strings(["word " * 200_000, "word"]), tokenizer, max_length=7)
    assert rows(ids) == [[4] * 7, [4, EOS]]
    assert ids.truncated == 1


def test_no_sentences_at_all(tokenizer: Tokenizer) -> None:
    ids = encode_lines(store_of(["a"]).select(np.array([], np.int64), "none"), tokenizer)
    assert len(ids) == len(ids.tokens) == 0
    assert ids.offsets.tolist() == [0]


def test_the_same_is_encoded_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines.from_strings(SENTENCES)
    first = encode_lines(lines, tokenizer, max_length=5)

    def refuse(*args: object) -> None:
        raise AssertionError("encoded a second time")

    monkeypatch.setattr(module, "_write", refuse)
    assert rows(encode_lines(lines, tokenizer, max_length=5)) == rows(first)
    assert encode_lines(lines, tokenizer, max_length=5).truncated == first.truncated == 1
    other = [
        (lines, tokenizer, 6),
        (lines, train_tokenizer(["a b c", "a b"], "word", lowercase=True), 5),
        (Lines.from_strings(SENTENCES[1:]), tokenizer, 5),
    ]
    for changed, by, length in other:
        with pytest.raises(AssertionError, match="second time"):
            encode_lines(changed, by, max_length=length)


def test_real_captions_survive(data_dir: Path) -> None:
    text = (data_dir / "text" / "coco_test.txt").read_text(encoding="utf-8")
    lines = [" ".join(each.split()) for each in text.splitlines() if each.strip()]
    tokenizer = train_tokenizer(lines, min_count=1)
    ids = encode_lines(Lines.from_strings(lines), tokenizer)
    assert [tokenizer.decode(ids[i]) for i in range(len(ids))] == lines
    assert ids.unknown == ids.truncated == 0


def test_a_batch_is_padded_to_its_longest() -> None:
    ids = pack([[4, 5, 6, EOS], [7, EOS], [8]])
    batch = ids.batch(np.array([1, 0, 2, 1]))
    expected = [[7, EOS, PAD, PAD], [4, 5, 6, EOS], [8, PAD, PAD, PAD], [7, EOS, PAD, PAD]]
    assert batch.tolist() == expected
    assert batch.dtype == torch.int64
    assert ids.batch(np.array([2])).tolist() == [[8]]


def test_packing_keeps_rows_as_they_are() -> None:
    sentences = [[4, UNK, EOS], [], [70_000]]
    ids = pack(sentences)
    assert rows(ids) == sentences
    assert (ids.truncated, ids.unknown) == (0, 1)
    assert list(chain(*sentences)) == ids.tokens.tolist()
    assert len(pack([])) == 0
