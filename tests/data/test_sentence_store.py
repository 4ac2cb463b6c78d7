"""Sentences on disk and in memory: the same sequence either way."""

import hashlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from seqgen.data import sentence_store as module
from seqgen.data.sentence_store import Lines, hashes_of, open_store, store_of, write_store

SENTENCES = ["a cat .", "床前明月光", "😀 smile", "é", "a cat ."]


@pytest.fixture(params=["memory", "disk"])
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> Lines:
    if request.param == "memory":
        return Lines.from_strings(SENTENCES)
    assert write_store(tmp_path, [SENTENCES[:3], [], SENTENCES[3:]]) == 5
    return open_store(tmp_path).lines


def test_is_the_sequence_it_was_made_of(lines: Lines) -> None:
    assert len(lines) == 5
    assert list(lines) == SENTENCES
    assert [lines[i] for i in range(-5, 5)] == SENTENCES * 2
    assert lines[np.int64(1)] == SENTENCES[1]
    assert lines[1:] == SENTENCES[1:]
    assert lines[::-2] == SENTENCES[::-2]
    assert lines[7:] == []
    assert "é" in lines


@pytest.mark.parametrize("index", [5, -6])
def test_an_index_beyond_the_end_is_an_error(lines: Lines, index: int) -> None:
    with pytest.raises(IndexError, match="out of range"):
        lines[index]


def test_hash_is_of_the_content_wherever_it_is(lines: Lines) -> None:
    content = "".join(f"{each}\n" for each in SENTENCES).encode()
    assert lines.hash == hashlib.sha256(content).hexdigest()


def test_rows_select_and_order() -> None:
    store = store_of(SENTENCES)
    some = store.select(np.array([3, 0]), "hash")
    assert list(some) == ["é", "a cat ."]
    assert some[-1] == "a cat ."
    assert list(store.select(np.array([], np.int64), "hash")) == []


def test_chunks_are_bounded_in_lines_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines.from_strings(["a" * 3] * 7)
    assert [len(chunk) for chunk in lines.chunks(5)] == [5, 2]
    monkeypatch.setattr(module, "CHUNK_BYTES", 6)
    assert list(chain(*lines.chunks())) == ["aaa"] * 7
    assert max(len(chunk) for chunk in lines.chunks()) <= 3
    assert [len(chunk) for chunk in Lines.from_strings(["a" * 20] * 3).chunks()] == [1, 1, 1]


def test_equal_sentences_have_equal_hashes_only() -> None:
    hashes = store_of(SENTENCES).hashes
    assert hashes[0] == hashes[4]
    assert len(set(hashes.tolist())) == 4
    # BLAKE2b of 8 bytes, read as a number in this machine's byte order.
    expected = hashlib.blake2b(b"\xc3\xa9", digest_size=8).digest()
    assert hashes_of(["é".encode()]).tobytes() == expected


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert list(Lines.from_strings(["a\ud83d b"])) == ["a? b"]
