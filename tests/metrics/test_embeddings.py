"""Encoders: latent semantic analysis against an exact decomposition, word vectors from files, mistakes."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.metrics.embeddings import LSA, choose_encoder, read_vectors, singular_directions
from seqgen.ngrams.ngrams import EncodedText, encode_sentences
from seqgen.ngrams.sparse_ngrams import SparseMatrix

VECTORS = "the 1 0 2\ncat 0 3 0\ndog 0 0 -4.5e0\n"


def two(first: list[str], second: list[str]) -> tuple[EncodedText, EncodedText]:
    vocabulary: dict[str, int] = {}
    encoded = [encode_sentences([line.split() for line in lines], vocabulary) for lines in (first, second)]
    return encoded[0], encoded[1]


def test_directions_are_the_right_singular_vectors() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((41, 5)) @ np.diag([9, 5, 3, 0.1, 0.01]) @ rng.standard_normal((5, 23))
    rows, columns = np.indices(dense.shape).reshape(2, -1)
    found = singular_directions(SparseMatrix(rows, columns, dense.ravel(), dense.shape), 3, seed=0).numpy()
    _, _, exact = np.linalg.svd(dense)
    assert found.shape == (23, 3)
    np.testing.assert_allclose(np.abs(found.T @ exact[:3].T), np.eye(3), atol=1e-5)


def test_lsa_by_hand() -> None:
    # Every word is in two references or more: a in 4 of 4, b in 2; pairs "a b" in 2.
    # idf: a log 1 + 1 = 1, b and "a b" log 2 + 1; sentences "a" → (1, 0, 0), "a b" → (1, i, i) / √(1 + 2 i²).
    refs, text = two(["a b", "a b", "a", "a"], ["b", "a a a b", "z"])
    vectors, others = LSA(refs)(text)
    i = np.log(2) + 1
    assert others.shape[1] == 3
    both = np.array([1, i, i]) / np.sqrt(1 + 2 * i**2)
    # the projection keeps the products of sentences in the space that the references span
    assert others[0] @ others[2] == pytest.approx(both[0])
    assert others[0] @ others[1] == pytest.approx(1.0)
    thrice = np.array([1 + np.log(3), i, i])  # 1 + log 3 times a; "a a" is no pair of the references
    assert vectors[1] @ others[2] == pytest.approx(thrice[0] / np.sqrt((thrice**2).sum()))
    assert vectors[0] @ others[0] == pytest.approx(both[1])
    assert vectors[2].tolist() == [0, 0, 0]  # in no reference


def test_lsa_does_not_depend_on_the_text_embedded_with_it() -> None:
    rng = random.Random(0)
    lines = [" ".join(rng.choices("abcdefghij", k=6)) for _ in range(60)]
    refs, text = two(lines[:40], lines[40:])
    whole, others = LSA(refs, dimensions=5)(text)
    part, same = LSA(refs, dimensions=5)(text[:7])
    np.testing.assert_allclose(part @ same.T, whole[:7] @ others.T, atol=1e-9)
    assert whole.shape == (20, 5)


def test_references_without_a_common_word_have_no_space() -> None:
    refs, text = two(["a", "b"], ["a", "c"])
    vectors, others = LSA(refs)(text)
    assert (vectors.tolist(), others.tolist()) == ([[0], [0]], [[0], [0]])


@pytest.mark.parametrize("header", ["", "3 3\n"])
def test_word_vectors_from_a_file(tmp_path: Path, header: str) -> None:
    (tmp_path / "v.txt").write_text(header + VECTORS, encoding="utf-8")
    name, encode = choose_encoder(tmp_path / "v.txt", None, str.split)
    assert encode is not None
    assert "v.txt" in name
    assert encode(["the cat", "The bird", "bird", ""]).tolist() == [
        [0.5, 1.5, 1],
        [1, 0, 2],
        [0, 0, 0],
        [0, 0, 0],
    ]
    words, vectors = read_vectors(tmp_path / "v.txt")
    assert (words, vectors[2].tolist()) == ({"the": 0, "cat": 1, "dog": 2}, [0, 0, -4.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give a word"),
        (b"the 1 0\ncat 0\n", "line 2 is not a word and as many numbers"),
        (b"the one two\n", "line 1 is not a word"),
        (b"the\n", "line 1 is not a word"),
        (b"the nan 1\n", "line 1 is not a word"),
        ("caf\u00e9 1 2\n".encode("latin-1"), "is not UTF-8 text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_hold_no_word_vectors(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        choose_encoder(path, None, str.split)


def test_encoders_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose_encoder(None, None, str.split) == ("LSA of the references, 64 dimensions", None)
    with pytest.raises(UserError, match="no encoder 'bert'; allowed: sentence-transformers:NAME"):
        choose_encoder(None, "bert", str.split)
    with pytest.raises(UserError, match="both given"):
        choose_encoder(tmp_path, "sentence-transformers:x", str.split)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match="run 'pip install sentence-transformers'"):
        choose_encoder(None, "sentence-transformers:x", str.split)


def test_a_sentence_transformers_model_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        class SentenceTransformer:
            def __init__(self, name: str) -> None:
                if name != "small":
                    raise OSError("not found")

            def encode(self, lines: list[str]) -> torch.Tensor:
                return torch.tensor([[float(len(line)), 1.0] for line in lines])

    monkeypatch.setitem(sys.modules, "sentence_transformers", Module)
    name, encode = choose_encoder(None, "sentence-transformers:small", str.split)
    assert encode is not None
    assert (name, encode(["ab", ""]).tolist()) == ("sentence-transformers:small", [[2, 1], [0, 1]])
    with pytest.raises(UserError, match="no sentence-transformers model 'huge' can be loaded: not found"):
        choose_encoder(None, "sentence-transformers:huge", str.split)
