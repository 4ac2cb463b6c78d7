"""Datasets through the `datasets` library, from local folders."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqgen.core.errors import UserError
from seqgen.data import huggingface
from seqgen.data.corpus import open_corpus


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def dataset(folder: Path, **splits: list[dict]) -> str:
    folder.mkdir()
    for name, rows in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"hf:{folder}"


def rows(*texts: str | None) -> list[dict]:
    return [{"id": i, "caption": each} for i, each in enumerate(texts)]


def test_its_own_splits_are_used(tmp_path: Path) -> None:
    train, valid = rows("one", " two\n lines ", None, "three"), rows("three", "four")
    name = dataset(tmp_path / "set", train=train, validation=valid, test=rows("four", "one"))
    corpus = open_corpus(name)
    assert corpus.name == name
    assert list(corpus.test) == ["four", "one"]
    assert list(corpus.valid) == ["three"]
    assert list(corpus.train) == ["two lines"]
    assert corpus.removed == {"train": 2, "valid": 1}
    assert open_corpus(name).hash == corpus.hash


def test_missing_splits_are_taken_at_random(tmp_path: Path) -> None:
    corpus = open_corpus(dataset(tmp_path / "set", train=rows(*(f"cat {i}" for i in range(60)))))
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [54, 3, 3]


def test_a_local_folder_has_an_absolute_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path / "set", train=rows("one"))
    monkeypatch.chdir(tmp_path)
    assert huggingface.absolute("set") == f"{tmp_path}/set"
    assert huggingface.absolute("set:default") == f"{tmp_path}/set:default"
    assert huggingface.absolute("nobody/nothing:config") == "nobody/nothing:config"
    assert huggingface.absolute("") == ""


def test_a_given_file_goes_before_the_own_split(tmp_path: Path) -> None:
    name = dataset(tmp_path / "set", train=rows(*(f"cat {i}" for i in range(60))), test=rows("own"))
    (tmp_path / "test.txt").write_text("given\n")
    assert list(open_corpus(name, test=str(tmp_path / "test.txt")).test) == ["given"]


def test_a_dataset_may_be_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"cat {i}\n" for i in range(20)))
    full = dataset(tmp_path / "full", train=rows("tr"), validation=rows("va"), test=rows("te"))
    single = dataset(tmp_path / "single", train=rows("si"))
    corpus = open_corpus(str(tmp_path / "a.txt"), valid=full, test=single)
    assert list(corpus.valid) == ["va"]
    assert list(corpus.test) == ["si"]


def test_a_single_split_of_any_name_is_train(tmp_path: Path) -> None:
    assert list(open_corpus(dataset(tmp_path / "set", test=rows("one", "two"))).train) == ["one", "two"]


def test_splits_without_train_are_an_error(tmp_path: Path) -> None:
    name = dataset(tmp_path / "set", validation=rows("one"), test=rows("two"))
    with pytest.raises(UserError, match="has no split 'train'; its splits: validation, test"):
        open_corpus(name)


def test_its_columns(tmp_path: Path) -> None:
    name = dataset(tmp_path / "set", train=[{"en": "cat", "de": "Katze", "n": 1}])
    with pytest.raises(UserError, match=r"has 2 columns of text; .* its columns: 'en', 'de', 'n'"):
        open_corpus(name)
    with pytest.raises(UserError, match="has no column 'fr'; its columns: 'en', 'de', 'n'"):
        open_corpus(name, column="fr")
    with pytest.raises(UserError, match=r"column 'n' holds .*int64.*, not text"):
        open_corpus(name, column="n")
    assert list(open_corpus(name, column="de").train) == ["Katze"]
    assert list(open_corpus(name, column="en").train) == ["cat"]


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_folder_that_is_no_dataset(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "set").mkdir()
    if content is not None:
        (tmp_path / "set" / "train.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot open the dataset 'hf:.*set': ") as caught:
        open_corpus(f"hf:{tmp_path / 'set'}")
    assert "\n" not in str(caught.value)


def test_no_name_is_an_error() -> None:
    with pytest.raises(UserError, match="'hf:' names no dataset"):
        open_corpus("hf:")


def test_a_dataset_that_cannot_be_opened_is_an_error() -> None:
    code = """
        import os
        os.environ["HF_HUB_OFFLINE"] = "1"
        from seqgen.core.errors import UserError
        from seqgen.data.corpus import open_corpus
        try:
            open_corpus("hf:nobody/nothing:config")
        except UserError as error:
            print(error)
    """
    shown = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True)
    assert shown.stdout.decode().startswith("cannot open the dataset 'hf:nobody/nothing:config': ")
    assert shown.stdout.count(b"\n") == 1


def test_the_configuration_follows_the_last_colon(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(name: str, config: str | None) -> None:
        calls.append((name, config))
        raise ValueError("BuilderConfig 'x' not found.\nAvailable: ['y']")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    for name in ["owner/set", "owner/set:config"]:
        with pytest.raises(UserError, match=f"cannot open the dataset 'hf:{name}': BuilderConfig"):
            huggingface.load(name)
    assert calls == [("owner/set", None), ("owner/set", "config")]
