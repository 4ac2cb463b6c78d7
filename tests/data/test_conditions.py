"""What sentences are given: read from every kind of file, kept apart from them, encoded before them."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from seqgen.core.errors import UserError
from seqgen.data.conditions import SEPARATOR, joined, parted
from seqgen.data.corpus import open_corpus
from seqgen.data.sentence_store import Lines, store_of
from seqgen.data.token_ids import encode_lines
from seqgen.data.tokenizer import EOS, UNK, Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer

ROWS = [(f"so {kind}, number {i}", kind) for i in range(31) for kind in ("good", "bad")]
"""Sentences and their labels."""


def write(path: Path, rows: list[tuple[object, object]] = ROWS) -> str:
    """Write sentences and labels as a table of any kind, with another column before them."""
    named = [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(rows)]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(
                file, ["id", "text", "label"], delimiter="," if path.suffix == ".csv" else "\t"
            )
            table.writeheader()
            table.writerows(named)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(named), path)
    else:
        lines = [json.dumps(row) for row in named]
        path.write_text(
            "\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]", encoding="utf-8"
        )
    return str(path)


def pairs(lines: Lines) -> list[tuple[str, str]]:
    return [parted(line)[::-1] for line in lines.whole]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"])
def test_labels_of_every_kind_of_table(tmp_path: Path, name: str) -> None:
    rows = [*ROWS, ("nothing", None), (None, "good"), ("no label", "  ")]
    corpus = open_corpus(write(tmp_path / name, rows), column="text", label="label")
    found = [pair for lines in (corpus.train, corpus.valid, corpus.test) for pair in pairs(lines)]
    assert sorted(found) == sorted(ROWS)
    assert list(corpus.train) == [sentence for sentence, _ in pairs(corpus.train)]
    assert corpus.train.conditions() == [label for _, label in pairs(corpus.train)]
    assert corpus.train[3] == list(corpus.train)[3] == corpus.train[3:4][0]
    assert corpus.taken.dropped["without a label or source"] == 2
    assert "given 'label'" in corpus.taken.facts


def test_numbers_are_labels_too_and_the_text_is_the_only_other_column(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl"):
        rows = [(f"line {i}", i % 3) for i in range(40)]
        corpus = open_corpus(write(tmp_path / name, rows), label="label")
        assert set(corpus.train.conditions()) == {"0", "1", "2"}


def test_labels_of_a_dataset_have_their_names(tmp_path: Path) -> None:
    import datasets

    kinds = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": kinds})
    rows = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "set/train.parquet"))
    corpus = open_corpus(f"hf:{tmp_path / 'set'}", label="label")
    found = [pair for lines in (corpus.train, corpus.valid, corpus.test) for pair in pairs(lines)]
    assert sorted(found) == sorted(ROWS)


def test_folders_are_labels(tmp_path: Path) -> None:
    for kind in ("good", "very bad"):
        (tmp_path / "reviews" / kind / "deeper").mkdir(parents=True)
        for part in ("a.txt", "deeper/b.txt"):
            lines = [f"{kind} {part} {i}\n" for i in range(20)]
            (tmp_path / "reviews" / kind / part).write_text("".join(lines), encoding="utf-8")
    corpus = open_corpus(str(tmp_path / "reviews"), label="folder")
    assert all(sentence.startswith(label) for sentence, label in pairs(corpus.train))
    assert set(corpus.train.conditions()) == {"good", "very bad"}
    (tmp_path / "reviews/very bad").rename(tmp_path / "reviews/so-so")
    renamed = open_corpus(str(tmp_path / "reviews"), label="folder")
    assert set(renamed.train.conditions()) == {"good", "so-so"}
    (tmp_path / "reviews/loose.txt").write_text("here\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"loose\.txt is in no folder that could be its label"):
        open_corpus(str(tmp_path / "reviews"), label="folder")


def test_no_sentence_is_in_two_splits_whatever_its_label(tmp_path: Path) -> None:
    rows = [(f"line {i}", label) for i in range(200) for label in ("x", "y")]
    corpus = open_corpus(write(tmp_path / "a.csv", rows), column="text", label="label")
    parts = [set(lines) for lines in (corpus.train, corpus.valid, corpus.test)]
    assert all(len(part) >= 5 for part in parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == 200


def test_no_source_is_in_two_splits_but_its_answers_stay_together(tmp_path: Path) -> None:
    rows = [(f"answer {answer}", f"question {i}") for i in range(200) for answer in range(3)]
    corpus = open_corpus(write(tmp_path / "a.csv", rows), column="text", source="label")
    parts = [lines.conditions() for lines in (corpus.train, corpus.valid, corpus.test)]
    assert sum(len(set(part)) for part in parts) == 200
    assert all(part.count(source) == 3 for part in parts for source in part[:7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, r"has no column 'kind'; its columns: 'id', 'text', 'label'"),
        ({"label": "label", "source": "label"}, "a label or a source, not both"),
        ({"column": "text", "label": "text"}, "column 'text' cannot be both"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_wrong_columns_are_named(tmp_path: Path, name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_corpus(write(tmp_path / name), **({"column": "text"} | options))


def test_what_has_no_columns_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(UserError, match="is plain text and has no column 'label'"):
        open_corpus(str(tmp_path / "a.txt"), label="label")
    with pytest.raises(UserError, match="the built-in corpus 'scenes' has no columns"):
        open_corpus("scenes", label="label")
    (tmp_path / "a.json").write_text('["one", "two"]', encoding="utf-8")
    with pytest.raises(UserError, match="holds strings, not objects, and has no column 'label'"):
        open_corpus(str(tmp_path / "a.json"), label="label")
    (tmp_path / "b.json").write_text('[{"text": "one", "label": ["x"]}]', encoding="utf-8")
    with pytest.raises(UserError, match="'label' holds list"):
        open_corpus(str(tmp_path / "b.json"), label="label")


SENTENCES = ["we go on", "they go", "on we go"]


@pytest.mark.parametrize("kind", ["word", "character", "bpe", "byte"])
def test_labels_and_ends_of_sources_are_tokens_that_text_cannot_write(kind: str) -> None:
    plain = train_tokenizer(SENTENCES, kind, min_count=1)
    labelled = Tokenizer.from_json(plain.with_labels(["x", "y z"]).to_json())
    assert labelled.labels == {"x": plain.vocab_size, "y z": plain.vocab_size + 1}
    assert labelled.with_labels(["y z", "new"]).labels["new"] == plain.vocab_size + 2
    assert labelled.encode("we go") == plain.encode("we go")
    ids = [labelled.labels["y z"], *labelled.encode("they go"), EOS]
    assert labelled.decode(ids) == "they go"
    assert labelled.label(ids) == "y z"
    assert labelled.label(ids[1:]) is None
    spelled = labelled.tokens([plain.vocab_size])[0]
    assert plain.vocab_size not in labelled.encode(spelled)
    sourced = Tokenizer.from_json(plain.with_sources().to_json())
    assert sourced.then == plain.vocab_size
    assert sourced.with_sources() is sourced
    assert (
        sourced.decode([*sourced.encode("we go on"), sourced.then, *sourced.encode("they go")]) == "they go"
    )
    assert not sourced.labels


def lines_of(rows: list[tuple[str, str]]) -> Lines:
    store = store_of(joined(condition, sentence) for sentence, condition in rows)
    whole = store.lines
    return Lines(whole._blob, whole._offsets, None, whole.hash, conditioned=True)


def test_what_sentences_are_given_is_encoded_before_them() -> None:
    tokenizer = train_tokenizer(SENTENCES, "word", min_count=1)
    we, go, on, they = (tokenizer.encode(word)[0] for word in ("we", "go", "on", "they"))
    x, y = tokenizer.vocab_size, tokenizer.vocab_size + 1
    labelled = encode_lines(lines_of([("we go on", "y"), ("they", "x")]), tokenizer.with_labels(["x", "y"]))
    assert [row.tolist() for row in labelled] == [[y, we, go, on, EOS], [x, they, EOS]]
    cut = encode_lines(
        lines_of([("we go on", "y"), ("they", "x")]), tokenizer.with_labels(["x", "y"]), max_length=3
    )
    assert [row.tolist() for row in cut] == [[y, we, go, on], [x, they, EOS]]
    assert cut.truncated == 1
    rows = [("they go", "we go on we go"), ("on", "never seen")]
    sourced = encode_lines(lines_of(rows), tokenizer.with_sources(), max_length=4)
    assert [row.tolist() for row in sourced] == [[go, on, we, go, x, they, go, EOS], [UNK, UNK, x, on, EOS]]
    assert sourced.unknown == 2
    assert np.array_equal(sourced.lengths(), [8, 5])


def test_a_label_that_the_vocabulary_lacks_is_named() -> None:
    tokenizer = train_tokenizer(SENTENCES, "word").with_labels(["positive", "negative"])
    with pytest.raises(UserError, match="the run has no label 'positiv'; did you mean 'positive'"):
        tokenizer.encode_conditions(["negative", "positiv"])


def test_some_lines_of_a_corpus() -> None:
    lines = lines_of([("one", "x"), ("two", "y"), ("three", "x")])
    kept = lines.where(np.array([True, False, True]))
    assert list(kept) == ["one", "three"]
    assert kept.conditions() == ["x", "x"]
    assert kept.hash not in (lines.hash, lines.where(np.array([True, True, False])).hash)
    assert list(kept.where(np.array([False, True]))) == ["three"]
    assert SEPARATOR.isspace()  # so that it is in no text that is read
