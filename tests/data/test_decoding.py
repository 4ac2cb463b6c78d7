"""Decoding in blocks: the block size shows nowhere, and errors name the line."""

import io

import pytest

from seqgen.core.errors import UserError
from seqgen.data import decoding as module
from seqgen.data.decoding import blocks, lines

TEXT = "a cat\r\n\r\n床前明月光\nno\u2028break\u0085here\x0b\rlast 😀 without an end"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1 << 22])
def test_any_block_size_gives_the_same_lines(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    data = b"\xef\xbb\xbf" + TEXT.encode() if size >= 3 else TEXT.encode()
    expected = ["a cat", "床前明月光", "no\u2028break\u0085here\x0b", "last 😀 without an end"]
    split = "".join(blocks(io.BytesIO(data), "f")).split("\n")
    assert [line for line in split if line] == expected
    one_by_one = [line.removesuffix("\n") for line in lines(io.BytesIO(data), "f")]
    assert [line for line in one_by_one if line] == expected


def test_each_block_ends_where_a_line_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 4)
    assert list(blocks(io.BytesIO(b"ab\ncdefgh\nij\nk"), "f")) == ["ab\ncdefgh\n", "ij\n", "k"]


@pytest.mark.parametrize("size", [4, 1 << 22])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_invalid_utf8_names_line_and_byte(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    data = end.join([b"one", b"two", b"caf\xe9 noir", b"four"])
    with pytest.raises(UserError, match=r"f\.txt is not UTF-8: line 3 holds byte 0xe9; .*iconv -f LATIN1"):
        list(blocks(io.BytesIO(data), "f.txt"))


def test_binary_content_names_the_line() -> None:
    with pytest.raises(UserError, match="f is no text file: line 2 holds a NUL byte"):
        list(blocks(io.BytesIO(b"one\nt\0wo\n"), "f"))


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_is_named(codec: str) -> None:
    with pytest.raises(UserError, match="f is UTF-16; convert it with: iconv -f UTF-16"):
        list(blocks(io.BytesIO("\ufeffhello".encode(codec)), "f"))
