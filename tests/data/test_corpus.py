"""Opening a corpus end to end: what becomes of sentences, which split they go to, and every wrong spec."""

import io
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqgen import corpora
from seqgen.core.errors import UserError
from seqgen.data import corpus as text
from seqgen.data import files, huggingface
from seqgen.data.corpus import Corpus, normalise, open_corpus


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def every(corpus: Corpus) -> list[str]:
    return sorted([*corpus.train, *corpus.valid, *corpus.test])


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        pytest.param("a b\nc d\n", ["a b", "c d"], id="plain"),
        pytest.param("a b\nc d", ["a b", "c d"], id="no newline at the end"),
        pytest.param(b"\xef\xbb\xbfa b\nc\n", ["a b", "c"], id="BOM"),
        pytest.param("a b\r\nc d\r\n", ["a b", "c d"], id="CR LF"),
        pytest.param("a b\rc d\r", ["a b", "c d"], id="lone CR"),
        pytest.param("\n\na\n \t \n\u3000\nb\n\n", ["a", "b"], id="blank lines"),
        pytest.param("  a \t b\u00a0\u2003c\u3000d \n", ["a b c d"], id="white space"),
        pytest.param("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n", ["a b c d e f g"], id="no line ends"),
        pytest.param("only one line", ["only one line"], id="one line"),
        pytest.param("😀 𝒳 𠀀\n", ["😀 𝒳 𠀀"], id="beyond the BMP"),
        pytest.param("床前明月光\n疑是地上霜\n", ["床前明月光", "疑是地上霜"], id="Chinese without spaces"),
        pytest.param("cafe\u0301\ncafé\n", ["café", "café"], id="NFC"),
        pytest.param("x" * 1_000_000 + "\ny\n", ["x" * 1_000_000, "y"], id="a megabyte in a line"),
    ],
)
def test_what_becomes_of_lines(tmp_path: Path, content: str | bytes, sentences: list[str]) -> None:
    assert every(open_corpus(write(tmp_path / "a.txt", content))) == sorted(sentences)


def test_normalise_drops_the_blank_and_keeps_the_rest() -> None:
    assert normalise([" a\n b ", "", "\u2028", "C, d!"]) == ["a b", "C, d!"]


LAID_OUT = [
    pytest.param("a.txt", b"  if x:\n\treturn  1 \n \n", ["  if x:", "\treturn  1 "], id="code"),
    pytest.param("a.txt", b" pass word \r\n\xc2\xa0x\n", [" pass word ", "\xa0x"], id="CR LF"),
    pytest.param("a.jsonl", rb'{"text": " a\r\n\tb "}', [" a\r\n\tb "], id="a field of lines"),
    pytest.param("a.csv", b'n,text\n1,"a\n  b"\n', ["a\n  b"], id="a quoted field"),
]


@pytest.mark.parametrize(("name", "content", "sentences"), LAID_OUT)
def test_white_space_is_kept_where_it_is_asked_for(
    tmp_path: Path, name: str, content: bytes, sentences: list[str]
) -> None:
    path = write(tmp_path / name, content)
    kept = open_corpus(path, keep_whitespace=True)
    assert every(kept) == sorted(sentences)
    collapsed = open_corpus(path)
    assert every(collapsed) == sorted(" ".join(each.split()) for each in sentences)
    assert collapsed.taken.respaced == kept.taken.respaced == len(sentences)
    assert kept.hash != collapsed.hash


def test_text_without_white_space_of_its_own_is_the_same_corpus_either_way(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a b\nc\n\n")
    assert open_corpus(path, keep_whitespace=True).hash == open_corpus(path).hash
    # What runs have recorded; a run whose corpus has another hash cannot go on.
    assert open_corpus(path).hash == RECORDED


RECORDED = "ee9cff33018698100a097a36fa32badd1a059514481c330271d0c477a8cdc20c"


def test_poems_between_blank_lines_are_sentences(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\nRoses are red,\n  violets are blue.\n\n\nOne line.\n \n")
    corpus = open_corpus(path, separator="blank", keep_whitespace=True)
    assert list(corpus.train) == ["Roses are red,\n  violets are blue.", "One line."]
    assert (corpus.taken.laid_out, corpus.taken.respaced) == (1, 1)
    assert list(open_corpus(path, separator="blank").train) == [
        "Roses are red, violets are blue.",
        "One line.",
    ]


def test_a_line_end_within_a_sentence_is_none_between_sentences(tmp_path: Path) -> None:
    one = open_corpus(write(tmp_path / "a.jsonl", '"a\\nb"'), keep_whitespace=True)
    two = open_corpus(write(tmp_path / "b.jsonl", '"a"\n"b"'), keep_whitespace=True)
    assert (list(one.train), list(two.train)) == (["a\nb"], ["a", "b"])
    assert one.train.hash != two.train.hash


@pytest.mark.parametrize("label", [None, "label"])
def test_a_row_with_the_character_nul_is_left_out_and_counted(tmp_path: Path, label: str | None) -> None:
    """No tokenizer holds it; a table may, and its other rows are good."""
    rows = [{"text": f"cat {n}", "label": "a"} for n in range(5)]
    bad = [{"text": "c\0t", "label": "a"}, *([{"text": "cat", "label": "a\0"}] if label else [])]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in [*rows, *bad]))
    corpus = open_corpus(path, column="text", label=label)
    assert sorted([*corpus.train, *corpus.valid, *corpus.test]) == [row["text"] for row in rows]
    assert corpus.taken.dropped == {"with the character NUL": len(bad)}
    path = write(tmp_path / "b.jsonl", json.dumps(bad[0]))
    with pytest.raises(UserError, match=r"holds no sentence \(left out: 1 with the character NUL\)"):
        open_corpus(path, column="text", label=label)


def test_what_was_taken_and_left_out_is_counted_and_remembered(tmp_path: Path) -> None:
    rows = "n;text\n" + "".join(f"{i};cat {i}\n" for i in range(60)) + "60;  \n61;x;y\n62;\n"
    test = write(tmp_path / "t.jsonl", '{"text": "cat 3"}\n{"text": null}\n')
    for _ in range(2):  # the second time from the cache
        corpus = open_corpus(write(tmp_path / "a.csv", rows), test=test)
        assert corpus.taken.facts == [
            "column 'text' of 2, delimiter ';'",
            "line 63 has 3 fields, not 2",
            "column 'text'",
        ]
        assert corpus.taken.dropped == {"with another number of fields": 1, "blank": 2, "null or missing": 1}
        assert corpus.removed == {"train": 1, "valid": 0}


def test_other_encodings_are_read_if_they_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "吾輩は猫である。\n名前はまだ無い。\n".encode("shift_jis"))
    with pytest.raises(UserError, match="--encoding cp932"):
        open_corpus(path)
    assert list(open_corpus(path, encoding="cp932").train) == ["吾輩は猫である。", "名前はまだ無い。"]


def test_a_dataset_has_no_encoding() -> None:
    with pytest.raises(UserError, match="a dataset such as 'hf:x' has no encoding or separator to name"):
        open_corpus("hf:x", encoding="utf-8")


def test_order_and_copies_are_kept(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "a.txt", "b\na\nb\n"))
    assert list(corpus.train) == ["b", "a", "b"]
    assert len(corpus.valid) == len(corpus.test) == 0


def test_held_out_files_and_what_they_remove(tmp_path: Path) -> None:
    corpus = open_corpus(
        write(tmp_path / "a.txt", "one\ntwo\ntwo\nthree\nfour\n"),
        valid=write(tmp_path / "valid.txt", "two\nfive\n six \n"),
        test=write(tmp_path / "test.txt", "six\nsix\nthree\n"),
    )
    assert list(corpus.test) == ["six", "six", "three"]
    assert list(corpus.valid) == ["two", "five"]
    assert list(corpus.train) == ["one", "four"]
    assert corpus.removed == {"train": 3, "valid": 1}
    assert corpus.grammar is None


def test_published_captions(data_dir: Path) -> None:
    folder = data_dir / "text"
    test = str(folder / "coco_test.txt")
    corpus = open_corpus(str(folder / "coco_train.txt"), test=test)
    assert corpus.name == str(folder / "coco_train.txt")
    # Counted by hand with sets: 10,000 lines each, 7 training lines also stand in the test file.
    assert len(corpus.test) == 10_000
    assert corpus.removed == {"train": 7, "valid": 0}
    assert len(corpus.train) + len(corpus.valid) == 9_993
    assert not {*corpus.train} & ({*corpus.valid} | {*corpus.test})
    assert corpus.train[0] == "a bicycle replica with a clock as the front wheel."


def test_tables_and_their_column(tmp_path: Path) -> None:
    rows = "en,de\n" + "".join(f"cat {i},Katze {i}\n" for i in range(40))
    table = write(tmp_path / "a.csv", rows)
    held_out = write(tmp_path / "test.txt", "Katze 3\nHund\n")
    corpus = open_corpus(table, column="de", test=held_out)  # the text file needs no column
    assert len(corpus.train) + len(corpus.valid) == 39
    assert all(each.startswith("Katze") for each in corpus.train)
    assert open_corpus(table, column="en").hash != corpus.hash
    with pytest.raises(UserError, match="no column 'fr'; its columns: 'en', 'de'"):
        open_corpus(table, column="fr")


def test_a_directory_is_one_corpus(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "2.txt", "b\n")
    write(tmp_path / "d" / "1.jsonl", '{"text": "a"}\n')
    assert list(open_corpus(str(tmp_path / "d")).train) == ["a", "b"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\r\ntwo\n")))
    corpus = open_corpus("-")
    assert corpus.name == "-"
    assert list(corpus.train) == ["one", "two"]


@pytest.mark.parametrize("name", corpora.names())
def test_built_in_corpora(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BUILT_IN_SIZES", {"train": 211, "valid": 31, "test": 37})
    corpus = open_corpus(name)
    assert corpus.grammar == corpus.name == name
    assert len(corpus.test) == 37
    assert len(corpus.valid) == 31 - corpus.removed["valid"]
    assert len(corpus.train) == 211 - corpus.removed["train"]
    assert not {*corpus.train} & {*corpus.test}
    grammar = corpora.load(name)
    assert all(grammar.valid(each) for each in every(corpus))
    assert open_corpus(name).hash == corpus.hash != open_corpus(name, seed=1).hash


def test_hash_follows_content_and_options_only(tmp_path: Path) -> None:
    numbers = "".join(f"{i}\n" for i in range(100))
    one = open_corpus(write(tmp_path / "a.txt", numbers))
    same = open_corpus(write(tmp_path / "b.csv", "n\r\n" + numbers.replace("\n", "\r\n\r\n")))
    assert one.hash == same.hash
    assert one.train.hash == same.train.hash
    held_out = write(tmp_path / "c.txt", "3\n")
    others = [
        open_corpus(write(tmp_path / "d.txt", numbers + "100\n")),
        open_corpus(str(tmp_path / "a.txt"), seed=1),
        open_corpus(str(tmp_path / "a.txt"), valid=held_out),
        open_corpus(str(tmp_path / "a.txt"), test=held_out),
    ]
    assert len({one.hash, *(each.hash for each in others)}) == 5
    assert len({each.hash for each in (one.train, one.valid, one.test, *(o.train for o in others))}) == 7


def test_the_seed_matters_only_if_a_split_is_random(tmp_path: Path) -> None:
    train = write(tmp_path / "a.txt", "".join(f"{i}\n" for i in range(100)))
    valid, test = write(tmp_path / "v.txt", "x\n"), write(tmp_path / "t.txt", "y\n")
    zero, one = (open_corpus(train, valid=valid, test=test, seed=seed) for seed in (0, 1))
    assert zero.hash == one.hash


def test_a_second_opening_reads_no_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n")
    first = open_corpus(path)

    def refuse(*args: object) -> None:
        raise AssertionError("read a second time")

    monkeypatch.setattr(files, "read", refuse)
    assert list(open_corpus(path).train) == list(first.train)


def test_processes_that_open_the_same_corpus_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "".join(f"sentence {i}\n" for i in range(5_000)))
    code = f"""
        from seqgen.data.corpus import open_corpus
        corpus = open_corpus({path!r})
        print(corpus.hash, len(corpus.train), corpus.test[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    shown = {each.communicate(timeout=60)[0] for each in started}
    assert [each.returncode for each in started] == [0, 0, 0]
    assert len(shown) == 1
    left = [name for _, folders, _ in os.walk(tmp_path / "cache") for name in folders if name[0] == "."]
    assert left == []


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    line = "a sentence of a length that is typical of captions , number "
    path = write(tmp_path / "a.txt", "".join(f"{line}{i}\n" for i in range(300_000)))  # 20 MB
    code = f"""
        import resource
        from seqgen.data.corpus import open_corpus
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = peak()
        corpus = open_corpus({path!r})
        for chunk in corpus.train.chunks():
            pass
        print(peak() - before)
    """
    shown = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True)
    # The strings alone would take 35 MB; 64-bit hashes and the arrays that group them come to 15.
    assert int(shown.stdout) < 80


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no sentence; give text with at least one line that is not blank"),
        (" \n\u3000\n\r\n", "holds no sentence"),
        (b"one\ncaf\xe9\n", "is not UTF-8: line 2 holds byte 0xe9. .* 'café': .* --encoding windows-1252"),
        (b"\x89PNG\0\0", "is no text file: line 1 holds a NUL byte"),
    ],
)
def test_files_without_text(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "a.txt", content)
    for _ in range(2):  # the failure is not cached either
        with pytest.raises(UserError, match=re.escape(path) + " " + message):
            open_corpus(path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "scens",
            r"no corpus 'scens': neither built in nor a file; did you mean 'scenes'\? Expected a .*path",
        ),
        ("qqq", r"no corpus 'qqq': neither built in nor a file; the built-in ones: .*scenes; Expected"),
        ("nowhere.txt", r"no file 'nowhere\.txt'; give the path of an existing file or directory"),
        ("no/where", "no file 'no/where'"),
        ("", "the corpus has an empty name"),
    ],
)
def test_specs_that_name_nothing(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_corpus(spec)
    assert "\n" not in str(caught.value)


def test_a_missing_held_out_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n")
    with pytest.raises(UserError, match="no file 'scens'; give the path"):
        open_corpus(path, test="scens")


def test_held_out_files_that_leave_nothing(tmp_path: Path) -> None:
    path, same = write(tmp_path / "a.txt", "one\ntwo\n"), write(tmp_path / "b.txt", "two\none\none\n")
    with pytest.raises(UserError, match=r"every sentence of .*a\.txt is also in its held-out files"):
        open_corpus(path, test=same)
    other = write(tmp_path / "c.txt", "three\n")
    with pytest.raises(UserError, match=r"every sentence of .*c\.txt is also in .*c\.txt; give another"):
        open_corpus(path, valid=other, test=other)


def test_a_dataset_without_train_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "load", lambda name: {})
    with pytest.raises(UserError, match="the training split of 'hf:x' is empty"):
        open_corpus("hf:x")
