"""Decoding of text files in blocks of complete lines, in bounded memory, and what to do where that fails."""

import codecs
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO

from seqgen.core.errors import UserError
from seqgen.data import reading
from seqgen.data.reading import BLANK, Chunks, Reading, Taken, literal, too_long

BLOCK_BYTES = 1 << 22
"""Bytes read and decoded at a time."""

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks and the encodings that they name; that of UTF-32 begins like that of UTF-16."""

COMMON = "Windows-1252"
"""The encoding taken among equally likely ones; few bytes of a Western text tell them apart."""
DOUBT = 0.02
"""Difference of two confidences of the detector that means nothing."""
SHOWN = 60
"""Characters of the line that an error shows, for the user to judge a guess."""

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_OUTER_LINES = re.compile(r"\A(?:[^\S\n]*\n)+|\n(?:[^\S\n]*\n)*[^\S\n]*\Z")


def blocks(file: IO[bytes], name: str, how: Reading = Reading(), taken: Taken | None = None) -> Iterator[str]:
    r"""Decode a file in blocks that end at a line end; CR LF and CR become \n, a byte-order mark is removed.

    name: of the file, for messages. Raise UserError, with the line, for bytes that the encoding does not
    have, a NUL and a line of more than `ITEM_CHARACTERS`.
    """
    start = file.read(max(BLOCK_BYTES, 4))
    encoding = how.encoding or next((MARKS[mark] for mark in MARKS if start.startswith(mark)), "utf-8")
    if taken is not None and encoding != "utf-8":
        taken.say(f"encoding {encoding}")
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    pending: list[str] = []
    waiting, line = 0, 1
    for block in chain([start], iter(lambda: file.read(BLOCK_BYTES), b""), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            held = "\r" if decoder.getstate()[1] & 1 else ""
            raise _undecodable(error, encoding, name, line, held, given=how.encoding is not None) from error
        if "\0" in text:
            raise _no_text(block, name, line + text[: text.index("\0")].count("\n"))
        if block is start:
            text = text.removeprefix("\ufeff")
        line += text.count("\n")
        cut = text.rfind("\n") + 1
        if cut or not block:
            whole = "".join([*pending, text[:cut] if block else text])
            pending, waiting = [], 0
            if whole:
                yield whole
        pending.append(text[cut:] if block else "")
        waiting += len(pending[-1])
        if waiting > reading.ITEM_CHARACTERS:
            raise too_long(name, f"line {line}")


def lines(file: IO[bytes], name: str, how: Reading = Reading(), taken: Taken | None = None) -> Iterator[str]:
    """Yield the lines of a file, each with its newline, as fields of a CSV file may contain newlines."""
    for text in blocks(file, name, how, taken):
        *complete, rest = text.split("\n")
        yield from (line + "\n" for line in complete)
        if rest:
            yield rest


def items(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Yield what stands between separators in lists, without the blank lines at either end."""
    if how.separator is None:
        for text in blocks(file, name, how, taken):
            yield [*text.removesuffix("\n").split("\n")]
        return
    separator = _BLANK_LINES if how.separator == BLANK else re.compile(re.escape(literal(how.separator)))
    rest, count = "", 0
    for text in blocks(file, name, how, taken):
        *complete, rest = separator.split(rest + text)
        count += len(complete)
        if len(rest) > reading.ITEM_CHARACTERS:
            raise too_long(name, f"item {count + 1}")
        yield [_OUTER_LINES.sub("", item) for item in complete]
    if rest.strip():
        yield [_OUTER_LINES.sub("", rest)]


def _no_text(data: bytes, name: str, line: int) -> UserError:
    guess = _guess(data)
    if guess.lower().startswith("utf-"):
        return UserError(
            f"{name} looks like {guess} without a byte-order mark: add --encoding {guess.lower()}"
        )
    return UserError(f"{name} is no text file: line {line} holds a NUL byte; give text, one sentence a line")


def _undecodable(
    error: UnicodeError, encoding: str, name: str, line: int, held: str, *, given: bool
) -> UserError:
    """Return the error for bytes that an encoding does not have; `held` is a CR that has not been counted."""
    if not isinstance(error, UnicodeDecodeError):
        return UserError(f"{name} is not {encoding}: {error}; give another --encoding")
    data, at = error.object, error.start
    before = held + data[:at].decode(encoding, "replace").replace("\r\n", "\n")
    line += before.count("\n") + before.count("\r")
    if not given and b"\0" in data:
        return _no_text(data, name, line)
    problem = f"{name} is not {encoding.upper()}: line {line} holds byte 0x{data[at]:02x}"
    if given:
        return UserError(f"{problem}; give another --encoding, or none to have it guessed")
    guess = _guess(data)
    first = max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at), at - SHOWN) + 1
    shown = re.split("[\r\n]", data[first : first + SHOWN].decode(guess, "replace"))[0]
    return UserError(
        f"{problem}. In {guess} the line is {shown!r}: if that is right, add --encoding {guess.lower()}, "
        "else name its encoding"
    )


def _guess(data: bytes) -> str:
    """Return the likeliest encoding of bytes that are no UTF-8, by the lines that tell."""
    import chardet  # takes a while

    different = dict.fromkeys(each for each in data.splitlines() if not each.isascii())
    telling = data if b"\0" in data else b"\n".join(different)
    found = chardet.detect_all(telling, ignore_threshold=True, encoding_era=chardet.EncodingEra.MODERN_WEB)
    named = {each["encoding"] or "": each["confidence"] for each in found}
    likely = {name: named[name] for name in named if _decodes(telling, name)}
    best = max(likely, key=likely.__getitem__, default=COMMON)
    return COMMON if likely.get(COMMON, -1.0) >= likely.get(best, 0.0) - DOUBT else best


def _decodes(data: bytes, encoding: str) -> bool:
    """Say whether Python has the encoding; the end of the data may be in the middle of a character."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)
    except (LookupError, UnicodeError):
        return False
    return True
