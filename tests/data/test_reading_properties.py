"""Whatever a file holds, it is read, or refused in one line: property tests of every reader of text."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqgen.core.errors import UserError
from seqgen.data import decoding, files
from seqgen.data.reading import Reading, Taken
from seqgen.data.tokenizer import Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt.gz", ".csv.gz")
SETTINGS = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PIECES = [
    *(
        b'"',
        b'""',
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r\n",
        b"\r",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b'"text":',
        b"null",
    ),
    *(
        b"id,text\n",
        b"text\n",
        b"\\",
        b"\\u12",
        b"1e999",
        b"\0",
        b"\xff",
        b"\xe9",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ),
    *(b"PAR1", b"\x1f\x8b\x08\0", b" ", b"a cat", "床前".encode(), "\u2028".encode(), b"\x1f"),
]
ENCODINGS = (None, "utf-16", "shift_jis", "utf-7", "gb18030", "windows-1252", "iso2022_jp")
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=13)


def read(path: Path, how: Reading = Reading()) -> list[str | None]:
    found = files.find(str(path))
    return [each for file in found for part in files.read(file, how, Taken()) for each in part]


def is_read_or_refused(function: Callable[[], list[str | None]]) -> bool:
    """Whether a function returns sentences, or raises a UserError of one line; other errors are raised."""
    try:
        return all(each is None or isinstance(each, str) for each in function())
    except UserError as error:
        return "\n" not in str(error)


@pytest.mark.parametrize("suffix", SUFFIXES)
@SETTINGS
@given(
    parts=st.lists(st.sampled_from(PIECES) | st.binary(max_size=7), max_size=23),
    column=st.sampled_from([None, "text", "1"]),
)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path: Path, suffix: str, parts: list[bytes], column: str | None
) -> None:
    path = tmp_path / f"a{suffix}"
    content = b"".join(parts)
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert is_read_or_refused(lambda: read(path, Reading(column)))


@SETTINGS
@given(content=st.binary(max_size=37), encoding=st.sampled_from(ENCODINGS))
def test_any_bytes_in_any_encoding(content: bytes, encoding: str | None) -> None:
    how = Reading(encoding=encoding)
    assert is_read_or_refused(lambda: [*decoding.blocks(io.BytesIO(content), "f", how)])


@SETTINGS
@given(sentences=st.lists(TEXT, min_size=2, max_size=11), delimiter=st.sampled_from(",;|\t"))
@example(sentences=['"', "\n"], delimiter="\t")
def test_what_the_csv_module_writes_comes_back(tmp_path: Path, sentences: list[str], delimiter: str) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(sentences)])
    with_lf = [each.replace("\r\n", "\n").replace("\r", "\n") for each in sentences]
    assert read(path, Reading("text")) == with_lf


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
@SETTINGS
@given(sentences=st.lists(TEXT | st.none(), min_size=1, max_size=11).filter(any))
def test_what_programs_write_comes_back(tmp_path: Path, suffix: str, sentences: list[str | None]) -> None:
    path = tmp_path / f"a{suffix}"
    rows = [{"text": each} for each in sentences]
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read(path, Reading("text")) == sentences


@SETTINGS
@given(sentences=st.lists(TEXT, min_size=1, max_size=11), separator=st.sampled_from(["<|end|>", "\\n%\\n"]))
@example(sentences=["\ufeff", "a"], separator="<|end|>")
def test_items_between_separators_come_back(tmp_path: Path, sentences: list[str], separator: str) -> None:
    kept = [each.replace("\r", " ") for each in sentences]
    kept = [each for each in kept if each.strip() and each == each.strip("\n") and "%" not in each]
    end = separator.replace("\\n", "\n")
    (tmp_path / "a.txt").write_text("".join(each + end for each in kept), encoding="utf-8", newline="")
    found = read(tmp_path / "a.txt", Reading(separator=separator))
    # At the beginning of a file the character U+FEFF is a byte-order mark, no text.
    kept[:1] = [each.removeprefix("\ufeff") for each in kept[:1]]
    expected = [decoding._OUTER_LINES.sub("", each) for each in kept]
    assert [each for each in found if each] == [each for each in expected if each]


@pytest.fixture(scope="module", params=["character", "bpe", "byte"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    texts = ["def f(x):\n    return  x\t+ 1\n", " a\r\nb ", "床前明月光", "abcdefghijklmnopqrstuvwxyz ▁_"]
    return train_tokenizer(texts, request.param, min_count=1)


@SETTINGS
@given(text=st.text(st.sampled_from("defx床 \t\n\r▁_()"), max_size=31))
@example(text=" ")
@example(text="\n \n  x\n")
def test_white_space_survives_these_tokenizers(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.inner.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)
