"""Reading CSV and TSV files: delimiter, quoting and header are taken from the first rows, and said."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import IO

from seqgen.core.errors import UserError
from seqgen.data import reading
from seqgen.data.decoding import lines
from seqgen.data.reading import Chunks, Reading, Taken, bounded, choose_columns, too_long, with_given

DELIMITERS = {",": "','", ";": "';'", "|": "'|'", "\t": "tab"}
"""The delimiters that are looked for, and their names."""

HEAD_LINES, HEAD_CHARACTERS = 2000, 1 << 20
"""Bounds of the first lines, by which a file is judged."""

FIT, FIT_WITH_NAMES = 0.9, 0.5
"""Fraction of the lines that must have as many fields as the first; less is enough if that holds names."""

COMMON_NAME = re.compile(
    "(?:text|sentence|line|caption|title|name|word|content|body|comment|review|tweet|message|post|question|"
    "answer|prompt|response|document|poem|quote|summary|description|article|headline|password|label|id)s?",
    re.IGNORECASE,
)
"""Names of columns, by which a first row is a header even where it is no shorter than the others."""

MISFIT = "with another number of fields"

_NO_DELIMITER = "\x1f"
"""ASCII's unit separator: it lets the csv module read a table of one column."""

_NAME = re.compile(r"[^\W\d][\w.\-/]*(?: [\w.\-/()]+){0,2}")


@dataclass(frozen=True)
class Dialect:
    """How the rows of a file are written."""

    delimiter: str | None
    """None: the file has one column."""
    quoted: bool
    """Whether a field may stand between quotation marks, as RFC 4180 has it; if not, they are text."""

    def rows(self, source: Iterator[str], name: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the last line of each row that is not empty, and its fields.

        Raise UserError for a quotation mark that is not closed and for too long a row.
        """
        if not self.quoted:
            for number, line in enumerate(source, 1):
                text = line.removesuffix("\n")
                if text:
                    yield number, text.split(self.delimiter) if self.delimiter else [text]
            return
        reader = csv.reader(source, delimiter=self.delimiter or _NO_DELIMITER, strict=True)
        before = 0
        # The limit is that of the module: it is left as it was whenever another may read.
        while True:
            limit = csv.field_size_limit(reading.ITEM_CHARACTERS)
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise _not_quoted(error, name, before + 1) from error
            finally:
                csv.field_size_limit(limit)
            if row is None:
                return
            before = reader.line_num
            if row:
                yield before, row if self.delimiter else [_NO_DELIMITER.join(row)]


@dataclass(frozen=True)
class _Guess:
    """A dialect and how the first lines of a file read in it."""

    dialect: Dialect
    rows: list[list[str]]
    wrapped: bool
    """Whether a field of the first lines stands between two quotation marks."""
    fit: float
    """Fraction of the lines that are in rows with as many fields as the first."""
    error: UserError | None
    """Why the file cannot be in this dialect."""

    @property
    def has_names(self) -> bool:
        return all(_NAME.fullmatch(cell) for cell in self.rows[0][1:]) and len(self.rows[0]) > 1


def read_csv(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Yield a column of a table of any of `DELIMITERS`; None for a row that does not fit the header.

    Fields may be quoted as in RFC 4180. A row whose quotation marks contradict it is an error.
    """
    return _read(file, name, how, taken, tabs=False)


def read_tsv(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Do as `read_csv` for a file in which tabs are likelier, and quotation marks are likely to be text.

    There is no quoting in tab-separated values (IANA text/tab-separated-values), but pandas writes it.
    """
    return _read(file, name, how, taken, tabs=True)


def _read(file: IO[bytes], name: str, how: Reading, taken: Taken, *, tabs: bool) -> Chunks:
    source = lines(file, name, how, taken)
    head, is_all = _head(source)
    if not any(line.strip() for line in head):
        return
    named = how.column or how.given
    guess = _dialect(head, is_all, name, named, tabs=tabs)
    first, *rest = guess.rows
    header = first if _has_header(first, rest, named) else None
    names = header or [str(number) for number in range(1, len(first) + 1)]
    columns = {each: any(_is_text(row[i]) for row in rest if len(row) > i) for i, each in enumerate(names)}
    column, given = choose_columns(name, columns, how)
    at = names.index(column), None if given is None else names.index(given)
    taken.say(_describe(guess.dialect, column, names, header is not None, tabs=tabs))
    if given is not None:
        taken.say(f"given {given!r}")
    rows = guess.dialect.rows(chain(head, source), name)
    if header is not None:
        next(rows)
    yield from _column(rows, len(names), at, name, taken)


def _column(
    rows: Iterator[tuple[int, list[str]]],
    width: int,
    at: tuple[int, int | None],
    name: str,
    taken: Taken,
) -> Chunks:
    """Yield the cells of a column, each with that of another one before it where there is one."""
    of_sentence, of_given = at
    count = misfits = 0
    where = ""
    for chunk in bounded(rows, lambda row: sum(map(len, row[1]))):
        wrong = [number for number, row in chunk if len(row) != width]
        if wrong and not misfits:
            found = next(len(row) for _, row in chunk if len(row) != width)
            where = f"line {wrong[0]} has {found} fields, not {width}"
            taken.say(where)
        count, misfits = count + len(chunk), misfits + len(wrong)
        taken.drop(MISFIT, len(wrong))
        cells = [row[of_sentence] if len(row) == width else None for _, row in chunk]
        if of_given is not None:
            given = [row[of_given] if len(row) == width else None for _, row in chunk]
            cells = [with_given(*pair, taken) for pair in zip(cells, given, strict=True)]
        yield cells
    if 2 * misfits > count:
        raise UserError(
            f"{name}: {misfits:,} of {count:,} rows do not fit the header ({where}); "
            'put fields that hold the delimiter in quotation marks, and write a quotation mark in them as ""'
        )


def _head(source: Iterator[str]) -> tuple[list[str], bool]:
    """Return the first lines of a file, and whether they are all of it."""
    head: list[str] = []
    size = 0
    for line in source:
        head.append(line)
        size += len(line)
        if len(head) == HEAD_LINES or size > HEAD_CHARACTERS:
            return head, False
    return head, True


def _dialect(head: list[str], is_all: bool, name: str, column: str | None, *, tabs: bool) -> _Guess:
    """Return the dialect that fits the first lines best; UserError if they fit none."""
    order = sorted(DELIMITERS, key=lambda each: (each == "\t") != tabs)
    guesses = [_guess(head, is_all, name, Dialect(each, q)) for each in order for q in (not tabs, tabs)]
    named = [each for each in guesses if column in each.rows[0]] if column else []
    several = [each for each in named or guesses if len(each.rows[0]) > 1]
    fitting = [
        each for each in several if each.fit >= (FIT_WITH_NAMES if each.has_names or named else FIT)
    ] or [each for each in several if each in named or (each.has_names and each.error)]
    if fitting:
        best = max(fitting, key=lambda each: (each.fit, len(each.rows[0])))
        same = [each for each in guesses if each.dialect.delimiter == best.dialect.delimiter]
        return _quoting(same, tabs=tabs)
    torn = max((each for each in several if each.has_names), key=lambda each: each.fit, default=None)
    if torn is not None and len(torn.rows) > 1:
        _refuse_torn(torn, name)
    return _quoting([_guess(head, is_all, name, Dialect(None, q)) for q in (not tabs, tabs)], tabs=tabs)


def _quoting(guesses: list[_Guess], *, tabs: bool) -> _Guess:
    """Choose between fields that may be quoted and quotation marks that are text.

    Of a CSV file the first, unless its marks contradict that and no field stands between two of them. Of a
    TSV file the second, unless more rows fit the first or a doubled mark shows it.
    """
    quoted, plain = sorted(guesses, key=lambda each: not each.dialect.quoted)
    if tabs:
        doubled = any(re.fullmatch('".*"".*"', cell) for row in plain.rows for cell in row)
        return quoted if (quoted.fit > plain.fit or doubled) and not quoted.error else plain
    if not quoted.error:
        return quoted
    if plain.wrapped:
        raise quoted.error
    return plain


def _guess(head: list[str], is_all: bool, name: str, dialect: Dialect) -> _Guess:
    rows: list[list[str]] = []
    sizes: list[int] = []
    before, problem = 0, None
    try:
        for number, row in dialect.rows(iter(head), name):
            rows.append(row)
            sizes.append(number - before)
            before = number
    except UserError as error:
        # The first lines of a longer file may end within a field.
        if is_all or "not closed" not in str(error) or len(head) - before > HEAD_LINES // 4:
            problem = error
    rows = rows or [[""]]
    written = sum(1 for line in head if line.strip()) or 1
    fitting = sum(size for size, row in zip(sizes, rows, strict=False) if len(row) == len(rows[0]))
    end = re.escape(dialect.delimiter or "\n")
    wrapped = re.compile(f'(?:^|{end})"[^"\n]*"(?:{end}|$)', re.MULTILINE).search("".join(head)) is not None
    return _Guess(dialect, rows, wrapped, 0.0 if problem else min(fitting / written, 1.0), problem)


def _has_header(first: list[str], rest: list[list[str]], column: str | None) -> bool:
    """Say whether the first row names the columns.

    It does if the user's column is in it, and does not if that is a number. Otherwise it must hold different
    names, and one of them a common one, or above numbers, or much shorter than the fields below.
    """
    if column is not None and (column in first or column.isdigit()):
        return column in first
    names = [cell for i, cell in enumerate(first) if cell or i]  # pandas leaves that of the index empty
    if len(set(first)) < len(first) or not all(_NAME.fullmatch(cell) for cell in names):
        return False
    if any(COMMON_NAME.fullmatch(cell) for cell in names):
        return True
    below = [[row[i] for row in rest if len(row) > i and row[i]] for i in range(len(first))]
    return any(
        cell and cells and (not any(map(_is_text, cells)) or 2 * len(cell) <= median(map(len, cells)))
        for cell, cells in zip(first, below, strict=True)
    )


def _is_text(value: str) -> bool:
    """Return True if a field is neither empty nor a number."""
    try:
        float(value or "0")
    except ValueError:
        return not value.isspace()
    return False


def _describe(dialect: Dialect, column: str, names: list[str], has_header: bool, *, tabs: bool) -> str:
    parts = [f"column {column!r}" if has_header else f"column {column}"]
    if len(names) > 1:
        parts[0] += f" of {len(names)}"
    if not has_header:
        parts.append("no header")
    if dialect.delimiter:
        parts.append(f"delimiter {DELIMITERS[dialect.delimiter]}")
    if dialect.quoted == tabs:
        parts.append("quoted fields" if tabs else "quotation marks are text")
    return ", ".join(parts)


def _refuse_torn(guess: _Guess, name: str) -> None:
    delimiter, width = DELIMITERS[guess.dialect.delimiter or ","], len(guess.rows[0])
    misfits = sum(len(row) != width for row in guess.rows)
    raise UserError(
        f"{name}: {misfits:,} of the first {len(guess.rows):,} rows do not fit the header, which has {width} "
        f"columns with the delimiter {delimiter}; put fields that hold it in quotation marks"
    )


def _not_quoted(error: csv.Error, name: str, line: int) -> UserError:
    if "limit" in str(error):
        return too_long(name, f"a field of the row in line {line}, perhaps after a stray quotation mark,")
    problem = "is not closed" if "unexpected end" in str(error) else "is followed by other text"
    return UserError(
        f"{name}: in the row of line {line} a quotation mark {problem}; write a quotation mark within a "
        'quoted field as "", or give the text as .txt or .jsonl'
    )
