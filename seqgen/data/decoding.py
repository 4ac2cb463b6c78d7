"""Decoding of text files in blocks of complete lines, in bounded memory."""

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import IO

from seqgen.core.errors import UserError

BLOCK_BYTES = 1 << 22
"""Bytes read and decoded at a time."""


def blocks(file: IO[bytes], name: str) -> Iterator[str]:
    r"""Decode a UTF-8 file in blocks that end at a line end; CR LF and CR become \n, a BOM is removed.

    name: of the file, for messages. Raise UserError for UTF-16, a NUL byte and invalid UTF-8, with the line.
    """
    before = 0
    start = file.read(BLOCK_BYTES)
    _refuse_utf16(start, name)
    pending = [start.removeprefix(codecs.BOM_UTF8)]
    for block in chain(iter(lambda: file.read(BLOCK_BYTES), b""), [b""]):
        # Cut after the last complete line. Without one read on; at the end of the file take the rest.
        cut = block.rfind(b"\n") + 1 or block.rfind(b"\r") + 1
        if block and not cut:
            pending.append(block)
            continue
        text = _decode(b"".join([*pending, block[:cut]]), name, before)
        pending = [block[cut:]]
        before += text.count("\n")
        yield text


def lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a file, each with its newline, as fields of a CSV file may contain newlines."""
    for text in blocks(file, name):
        *complete, rest = text.split("\n")
        yield from (line + "\n" for line in complete)
        if rest:
            yield rest


def _decode(block: bytes, name: str, before: int) -> str:
    nul = block.find(b"\0")
    if nul >= 0:
        line = before + _line_ends(block[:nul]) + 1
        raise UserError(
            f"{name} is no text file: line {line} holds a NUL byte; give UTF-8 text, one sentence a line"
        )
    try:
        return block.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = before + _line_ends(block[: error.start]) + 1
        raise UserError(
            f"{name} is not UTF-8: line {line} holds byte 0x{block[error.start]:02x}; "
            f"convert it, for example with: iconv -f LATIN1 -t UTF-8 {name} > utf8.txt"
        ) from error


def _line_ends(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _refuse_utf16(start: bytes, name: str) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name} is UTF-16; convert it with: iconv -f UTF-16 -t UTF-8 {name} > utf8.txt")
