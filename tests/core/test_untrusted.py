"""What is opened, how much is read of it, and how deep it may be nested."""

import json
import os
import time
import tomllib
from dataclasses import dataclass

import pytest

from seqgen.core.errors import UserError
from seqgen.core.untrusted import DEEPEST, check_regular, is_of, parse_nested, read_fields, read_regular


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert read_regular(tmp_path / "link", most=5) == b"12345"
    with pytest.raises(UserError, match=r"file' has 5 bytes; such a file has at most 4"):
        read_regular(tmp_path / "file", most=4)
    for name, kind in (("pipe", "a FIFO"), ("zero", "a device"), (".", "a folder")):
        with pytest.raises(UserError, match=rf"is {kind}, not a regular file"):
            check_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")


def nested(depth):
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "content", [nested(DEEPEST + 1), nested(100_000), b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
)
def test_nesting_has_a_limit(content):
    assert parse_nested(json.loads, nested(DEEPEST)) is not None
    with pytest.raises(ValueError, match=f"nested more than {DEEPEST} deep"):
        parse_nested(json.loads, content)


@pytest.mark.parametrize("content", [b"a = " + nested(100_000), b".".join([b"a"] * 200) + b" = 1"])
def test_toml_has_the_same_limit(content):
    with pytest.raises(ValueError, match=f"nested more than {DEEPEST} deep"):
        parse_nested(tomllib.loads, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'[{"\\udfff": 1}]', "half of a surrogate pair"),
        (b'["a\\u0000"]', "NUL"),
        (b"\xff", "utf-8"),
        (b'{"a": ', "Expecting value"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
)
def test_text_that_nothing_takes_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        parse_nested(json.loads, content)


def test_what_is_right_is_read():
    assert parse_nested(json.loads, b'\xef\xbb\xbf{"a": ["\\ud83d\\ude00", 1.5, null]}') == {
        "a": ["😀", 1.5, None]
    }
    started = time.process_time()
    assert len(parse_nested(json.loads, json.dumps(list(map(str, range(300_000)))).encode())) == 300_000
    assert time.process_time() - started < 5


def test_kinds():
    assert is_of(int, 3)
    assert is_of(int | None, None)
    assert is_of(bool, False)
    assert is_of(float, float(2**60))
    for kind, value in (
        (int, True),
        (int, 3.0),
        (float, float("nan")),
        (float | None, float("inf")),
        (str, 3),
    ):
        assert not is_of(kind, value)


@dataclass
class Fields:
    name: str = "x"
    size: int | None = None
    sums: dict[str, float] | None = None


def test_a_dataclass_is_read_from_its_fields():
    assert read_fields(Fields, {"name": "a"}) == Fields("a")
    assert read_fields(Fields, {"name": "a", "size": 3}) == Fields("a", 3)
    for values, message in (
        ([], r"\[\] in place of name, size, sums"),
        ({}, "name=None"),
        ({"name": 3}, "name=3"),
        ({"name": "a", "size": True}, "size=True"),
        ({"name": "a", "other": 1}, "other=1"),
    ):
        with pytest.raises(ValueError, match=message):
            read_fields(Fields, values)
