"""JSON in every layout that files have it, and what is wrong with others, in one line."""

import io
import json

import pytest

from seqgen.core.errors import UserError
from seqgen.data import decoding, reading
from seqgen.data.json_rows import read_json, read_jsonl
from seqgen.data.reading import Reading, Taken

ROWS = [{"id": 1, "text": "a cat"}, {"id": 2, "text": '床\n  "前" \\'}, {"id": 3, "text": None}, {"id": 4}]
TEXTS = ["a cat", '床\n  "前" \\', None, None]


def read(text: str, column: str | None = None, *, lines: bool = False) -> tuple[list[str | None], Taken]:
    taken = Taken()
    function = read_jsonl if lines else read_json
    chunks = function(io.BytesIO(text.encode()), "t", Reading(column), taken)
    return [each for chunk in chunks for each in chunk], taken


@pytest.mark.parametrize("size", [5, 7, 1 << 22])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False) + "\n",
        "\n\n" + json.dumps(ROWS, separators=(",", ":")),
        "".join(json.dumps(row) + "\n" for row in ROWS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
    ],
    ids=["array", "pretty", "compact", "lines", "sequence"],
)
def test_every_layout_gives_the_same(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setattr(decoding, "BLOCK_BYTES", size)
    found, taken = read(text)
    assert found == TEXTS
    assert (taken.facts, taken.dropped) == (["column 'text' of 2"], {"null or missing": 2})


def test_strings_are_sentences() -> None:
    assert read('["a", "b c"]')[0] == read('"a"\n"b c"\n', lines=True)[0] == ["a", "b c"]
    with pytest.raises(UserError, match="t holds strings, not objects, and has no column 'text'"):
        read('["a"]', "text")


@pytest.mark.parametrize("lines", [True, False])
def test_a_key_may_first_appear_late(lines: bool) -> None:
    early = '{"id": 1}\n' * 1_511
    found, taken = read(early + '{"late": "x"}\n', "late", lines=lines)
    assert found == [None] * 1_511 + ["x"]
    assert taken.dropped == {"null or missing": 1_511}
    with pytest.raises(UserError, match="t has no column 'late'; its columns: 'id'"):
        read(early, "late", lines=lines)


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, '{"text": ' + "[" * 200_000 + "]" * 200_000]
)
def test_nesting_without_end_is_one_line(text: str, lines: bool) -> None:
    with pytest.raises(UserError, match=r"^t: (line|value) 1 is no JSON: it is nested too deep$"):
        read(text, lines=lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"}', "t: value 2 is no JSON: Expecting"),
        ('[{"text": "a"}] more', "t: there is more after the end of the array"),
        ('{"text": "a"} {"text": ', "t: value 2 is no JSON"),
        ("[1, 2]", "t: value 1 is no JSON object; give one object a line, or an array of objects"),
        ('["a", {"text": "b"}]', "t: value 1 is no JSON object"),
        ('{"data": [{"text": "a"}]}', "t: value 1: 'data' holds list .*, not text"),
        ('{"n": ' + "1" * 5_000 + "}", "t: value 1 is no JSON: Exceeds the limit"),
    ],
)
def test_other_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(text)


def test_a_value_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK_BYTES", 101)
    monkeypatch.setattr(reading, "ITEM_CHARACTERS", 1009)
    with pytest.raises(UserError, match=r"t: (value|line) 2 has more than"):
        read('[{"text": "a"},\n{"text": "' + "x" * 5003)


def test_an_empty_file_has_no_rows() -> None:
    assert read("")[0] == read(" \n")[0] == read("[]")[0] == read("", lines=True)[0] == []
