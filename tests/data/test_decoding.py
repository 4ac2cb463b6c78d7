"""Decoding in blocks: the block size shows nowhere, and errors name the line."""

import io

import pytest

from seqgen.core.errors import UserError
from seqgen.data import decoding as module
from seqgen.data import reading
from seqgen.data.decoding import blocks, lines
from seqgen.data.reading import Reading, Taken

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
    assert list(blocks(io.BytesIO(b"ab\ncdefgh\nij\nk"), "f")) == ["ab\n", "cdefgh\n", "ij\n", "k"]


@pytest.mark.parametrize("size", [4, 1 << 22])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_invalid_utf8_names_line_and_byte(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    data = end.join([b"one", b"two", b"caf\xe9 noir", b"four"])
    with pytest.raises(UserError, match=r"f\.txt is not UTF-8: line 3 holds byte 0xe9. In Windows-125"):
        list(blocks(io.BytesIO(data), "f.txt"))


def test_binary_content_names_the_line() -> None:
    with pytest.raises(UserError, match="f is no text file: line 2 holds a NUL byte"):
        list(blocks(io.BytesIO(b"one\nt\0wo\n"), "f"))


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("size", [4, 6, 1 << 22])
def test_a_byte_order_mark_names_the_encoding(monkeypatch: pytest.MonkeyPatch, codec: str, size: int) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    taken = Taken()
    text = "".join(blocks(io.BytesIO(f"\ufeff{TEXT}".encode(codec)), "f", Reading(), taken))
    assert text == TEXT.replace("\r\n", "\n").replace("\r", "\n")
    assert taken.facts == [f"encoding {codec[:6]}"]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-32-be"])
def test_unicode_without_a_mark_is_named(codec: str) -> None:
    with pytest.raises(
        UserError, match=f"f looks like {codec} without a byte-order mark: add --encoding {codec}"
    ):
        list(blocks(io.BytesIO("hello there\n".encode(codec)), "f"))


LEGACY = [
    ("windows-1252", "“Hi” – it’s a café.", "windows-1252"),
    ("latin-1", "Ein Mädchen läuft", "windows-1252"),  # which has all characters of Latin-1
    ("windows-1250", "Příliš žluťoučký kůň", "windows-1250"),
    ("windows-1251", "Человек идёт по улице", "windows-1251"),
    ("koi8-r", "Человек идёт по улице", "koi8-r"),
    ("shift_jis", "吾輩は猫である。", "cp932"),
    ("euc_jp", "吾輩は猫である。", "euc-jp"),
    ("gb18030", "床前明月光，疑是地上霜。", "gb18030"),
    ("big5", "床前明月光，疑是地上霜。", "big5"),
    ("euc_kr", "나는 학교에 간다.", "cp949"),
]


@pytest.mark.parametrize(("codec", "line", "advice"), LEGACY)
def test_the_advice_for_other_encodings_is_true(codec: str, line: str, advice: str) -> None:
    data = f"plain ASCII\n{line}\n".encode(codec)
    with pytest.raises(
        UserError, match=f"f is not UTF-8: line 2 .* the line is '{line}'.*--encoding {advice},"
    ):
        list(blocks(io.BytesIO(data), "f"))
    assert "".join(blocks(io.BytesIO(data), "f", Reading(encoding=advice))) == f"plain ASCII\n{line}\n"


def test_a_given_encoding_is_taken_and_its_errors_name_it() -> None:
    taken = Taken()
    data = io.BytesIO("a\r\né".encode("utf-16-le"))
    assert "".join(blocks(data, "f", Reading(encoding="utf-16-le"), taken)) == "a\né"
    assert taken.facts == ["encoding utf-16-le"]
    with pytest.raises(
        UserError, match="f is not SHIFT_JIS: line 2 holds byte 0xff; give another --encoding"
    ):
        list(blocks(io.BytesIO(b"a\n\xff"), "f", Reading(encoding="shift_jis")))
    for name in ("cp12525", "base64", "a\0b"):
        with pytest.raises(UserError, match=r"no encoding .*; give a codec of Python, such as windows-1252"):
            Reading(encoding=name)


@pytest.mark.parametrize("size", [1, 3, 5, 7, 1 << 22])
@pytest.mark.parametrize(
    ("separator", "text"),
    [
        ("blank", "\n  a\n   b \n\n \t\nc\td\n\n\n e\n"),
        ("%", "  a\n   b \n%\nc\td\n%\n e"),
        ("\\n--\\n", "  a\n   b \n--\nc\td\n--\n e\n"),
        ("<|end|>", "  a\r\n   b <|end|>c\td<|end|> e"),
    ],
)
def test_separators_keep_the_lines_of_an_item(
    monkeypatch: pytest.MonkeyPatch, size: int, separator: str, text: str
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    chunks = module.items(io.BytesIO(text.encode()), "f", Reading(separator=separator), Taken())
    assert [item for chunk in chunks for item in chunk if item] == ["  a\n   b ", "c\td", " e"]


@pytest.mark.parametrize("separator", [None, "blank", "%"])
def test_a_line_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch, separator: str | None) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 101)
    monkeypatch.setattr(reading, "ITEM_CHARACTERS", 1009)
    endless = io.BytesIO(b"ok\n\n%\n" + b"x" * 5003)
    with pytest.raises(
        UserError, match=r"f: (line 4|item [23]) has more than .* the most that is read at once"
    ):
        list(module.items(endless, "f", Reading(separator=separator), Taken()))
    assert endless.tell() < 1500
