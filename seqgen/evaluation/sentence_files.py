"""Read the files to be scored: one sentence per line; a blank line is an empty sentence."""

import gzip
import io
import sys
import unicodedata
import zlib
from pathlib import Path

from seqgen.core.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"


def read_sentences(path: Path, option: str) -> list[str]:
    """Read one sentence a line from UTF-8 text, plain or gzipped, or standard input (`-`).

    Blank lines are kept; a byte-order mark and CRLF are removed, white space is collapsed, characters are
    normalised to NFC. `option` is the name of the option, for the UserError if the file is missing, not text,
    or blank.
    """
    raw = _read(path, option)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{option} '{path}' is not UTF-8 text (byte {error.start}); give text, one sentence a line"
        ) from error
    if "\0" in text:
        raise UserError(f"{option} '{path}' is a binary file; give text, one sentence a line")
    lines = [normalise_sentence(line) for line in io.StringIO(text, newline=None)]
    if not any(lines):
        raise UserError(f"{option} '{path}' is empty: it holds no sentence; give one sentence a line")
    return lines


def normalise_sentence(text: str) -> str:
    """Return a sentence as files of them are read: in Unicode NFC, each run of white space as one space."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def _read(path: Path, option: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
    except FileNotFoundError as error:
        raise UserError(f"{option} '{path}' does not exist; give a file with one sentence a line") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{option} '{path}' is a damaged gzip file; write it again") from error
    except OSError as error:
        raise UserError(
            f"{option} '{path}' cannot be read: {error.strerror or error}; give a text file"
        ) from error
