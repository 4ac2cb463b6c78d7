"""What a run says of its corpus, and white space from a file to a tokenizer that keeps it, or does not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import write_lines
from made_texts import make

import seqgen
from seqgen.core.errors import UserError
from seqgen.data.batches import encode_lines
from seqgen.data.corpus import Corpus
from seqgen.data.tokenizer import Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.training import load, run_folder
from seqgen.training.data_config import DataConfig, describe, open_data, open_with_tokenizer, why

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
CODE = [f"def f{i}(x):\n    return x  + {i}\n" for i in range(61)]


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps({"code": each}) + "\n" for each in CODE))
    return str(path)


def every(corpus: Corpus) -> set[str]:
    return {*corpus.train, *corpus.valid, *corpus.test}


@pytest.mark.parametrize(
    ("kind", "found", "keeps"),
    [
        ("auto", "bpe", True),
        ("bpe", "bpe", True),
        ("byte", "byte", True),
        ("character", "character", True),
        ("word", "word", False),
    ],
)
def test_white_space_is_kept_for_the_tokenizers_that_keep_it(
    code: str, kind: str, found: str, keeps: bool
) -> None:
    corpus, tokenizer = open_with_tokenizer(DataConfig(code, tokenizer=kind), None, seed=0)
    assert tokenizer.kind == found
    assert every(corpus) == ({*CODE} if keeps else {" ".join(each.split()) for each in CODE})
    assert tokenizer.decode(tokenizer.encode(CODE[0])) == (CODE[0] if keeps else " ".join(CODE[0].split()))
    again, same = open_with_tokenizer(DataConfig(code, tokenizer=kind), tokenizer, seed=0)
    assert again.hash == corpus.hash
    assert same is tokenizer


def test_double_and_trailing_spaces_of_prose_do_not_change_its_tokenizer(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", [f"a cat  sat {i} " for i in range(61)])
    corpus, tokenizer = open_with_tokenizer(DataConfig(path), None, seed=0)
    assert tokenizer.kind == "word"
    assert every(corpus) == {f"a cat sat {i}" for i in range(61)}
    _, passwords = open_with_tokenizer(DataConfig(path, tokenizer="character"), None, seed=0)
    assert passwords.decode(passwords.encode("a cat  sat 1 ")) == "a cat  sat 1 "


def test_a_run_from_before_white_space_was_kept_opens_its_corpus(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = seqgen.pretrain(code, run="run", tokenizer="character", steps=1, values=SMALL)
    old = json.loads((run.path / run_folder.TOKENIZER).read_text())
    old["pre_tokenizer"]["pattern"]["Regex"] = r"[\s\S]"
    (run.path / run_folder.TOKENIZER).write_text(json.dumps(old))
    config = json.loads((run.path / run_folder.CONFIG).read_text())
    config["corpus_hash"] = open_data(
        DataConfig(code), seed=0
    ).hash  # of the text with its white space collapsed
    del config["data"]["encoding"], config["data"]["separator"]
    (run.path / run_folder.CONFIG).write_text(json.dumps(config))
    assert load.load(run.path, "cpu").corpus.hash == config["corpus_hash"]
    again = seqgen.pretrain(code, run="run", tokenizer="character", steps=2, values=SMALL)
    assert again.metrics()[-1]["step"] == 2


def test_what_the_files_held_is_told_in_the_line_that_names_the_corpus(tmp_path: Path) -> None:
    rows = "".join(f"{i};cat number {i}  sat\n" for i in range(60))
    (tmp_path / "a.csv").write_text(f"n;text\n{rows}60;  \n61;x;y\n")
    (tmp_path / "t.txt").write_text("cat number 3 sat\n")
    data = DataConfig(str(tmp_path / "a.csv"), test=str(tmp_path / "t.txt"), max_length=3, min_count=2)
    corpus, tokenizer = open_with_tokenizer(data, None, seed=0)
    train, valid = (encode_lines(lines, tokenizer, max_length=3) for lines in (corpus.train, corpus.valid))
    [line] = describe(corpus, tokenizer, train, valid, 3)
    assert line.split("; ") == [
        f"corpus: {tmp_path / 'a.csv'} (column 'text' of 2, delimiter ';'",
        "line 63 has 3 fields, not 2): 57 training, 2 validation, 1 test sentences",
        "word tokenizer, 7 tokens",
        "left out: 1 with another number of fields, 1 blank, 1 of train also held out",
        "every run of white space is one space, which changed 60 sentences (--tokenizer bpe keeps it)",
        "57 training sentences were cut to 3 tokens (--max-length raises this)",
        "unknown tokens (by --min-count or --max-vocab): 57 of 171 in training, 2 of 6 in validation",
    ]


def test_it_is_said_why_a_tokenizer_was_chosen(tmp_path: Path) -> None:
    data = DataConfig(write_lines(tmp_path / "log.txt", make("logs", 211, 0)))
    corpus, tokenizer = open_with_tokenizer(data, None, seed=0)
    assert tokenizer.kind == "character"
    reason = why(data, corpus, tokenizer)
    assert reason.endswith("% of what stands between spaces are rare numbers, names with signs, addresses")
    ids = encode_lines(corpus.train, tokenizer)
    [line] = describe(corpus, tokenizer, ids, ids, 200, chosen_as=reason)
    assert f"; character tokenizer (as {reason}), {tokenizer.vocab_size} tokens" in line
    assert why(replace(data, tokenizer="character"), corpus, tokenizer) == ""  # the user's choice
    other = train_tokenizer(corpus.train, "word")  # a run from before
    assert why(data, corpus, other) == ""


def test_empty_held_out_splits_are_explained(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", ["a b", "c"])
    corpus, tokenizer = open_with_tokenizer(DataConfig(path), None, seed=0)
    ids = encode_lines(corpus.train, tokenizer)
    valid = encode_lines(corpus.valid, tokenizer)
    [_, explained] = describe(corpus, tokenizer, ids, valid, 200)
    assert explained == (
        "no validation and no test split: a split takes 5 % of the sentences, all copies of one together, "
        f"and {path} has too few different ones; name files with --valid and --test"
    )


def test_the_folder_of_a_run_must_be_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_lines(tmp_path / "a.txt", [f"a cat {i}" for i in range(31)])
    with pytest.raises(UserError, match=r"the name of the run folder 'runs/b.*' is not UTF-8"):
        seqgen.pretrain(path, run="runs/b\udce9", steps=1, values=SMALL)


def test_a_corpus_may_have_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_lines(tmp_path / "b\udce9.txt", [f"a cat {i}" for i in range(31)])
    run = seqgen.pretrain(path, run="run", steps=1, values=SMALL)
    assert load.load(run.path, "cpu").corpus.name == path


def test_samples_of_several_lines_stand_between_separators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("\n%\n".join(CODE))
    run = seqgen.pretrain("a.txt", run="run", separator="\\n%\\n", steps=1, values=SMALL)
    assert run.config["data"]["separator"] == "\\n%\\n"
    assert Tokenizer.load(run.path / run_folder.TOKENIZER).kind == "bpe"
    [samples, *_] = sorted((run.path / "samples").iterdir())
    assert samples.read_text().count("\n\n%\n\n") > 3
