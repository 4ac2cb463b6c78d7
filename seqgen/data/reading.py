"""How text is read and what was taken of it: the user's options, the choice of a column, bounds, counts."""

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from seqgen.core.errors import UserError
from seqgen.data.conditions import joined

ROWS = 1000
"""Rows read at a time; the first so many rows also decide which columns hold text."""

CHUNK_CHARACTERS = 1 << 22
"""Characters after which rows are passed on, though they are fewer than `ROWS`."""

ITEM_CHARACTERS = 1 << 24
"""Largest number of characters of a sentence, a line or a row: 16 Mi."""

EXPANSION, EXPANDED = 200, 1 << 28
"""A compressed file with more than 256 MiB of text may expand to at most so many times its size. Text shrinks
to a fifth, very repetitive text to a fiftieth."""

BLANK = "blank"
"""The separator that stands for a blank line."""

GIVEN_MISSING = "without a label or source"
"""Why a sentence is left out that has a row but nothing that it is given."""

Chunks = Iterator[list[str | None]]
"""Sentences in lists, not yet normalised; None for a row that holds none, which has been counted. What they
are given stands before them (`seqgen.data.conditions`)."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Reading:
    """The options of a source of text."""

    column: str | None = None
    """The column of a table, by its name, or by its number in a table without a header."""
    encoding: str | None = None
    """A codec of Python; None: UTF-8, or the Unicode encoding that a byte-order mark names."""
    separator: str | None = None
    r"""What stands between the sentences of a text file: `blank` (a blank line) or any other string, in which
    `\n` and `\t` are escapes; None: the end of a line."""
    label: str | None = None
    """The column of the sentences' labels; `folder`: the folder that a text file is in."""
    source: str | None = None
    """The column of the texts that the sentences go on from."""

    @property
    def given(self) -> str | None:
        """The column of what the sentences are given, a label or a source, if any."""
        return self.label if self.source is None else self.source

    def __post_init__(self) -> None:
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise UserError(
                f"no encoding {self.encoding!r}; give a codec of Python, such as windows-1252, shift_jis, "
                "gb18030 or utf-16"
            )
        if self.separator == "":
            raise UserError(f"the separator is empty; give '{BLANK}' for a blank line, or a string")
        if self.label is not None and self.source is not None:
            raise UserError("a sentence is given a label or a source, not both; leave one of the columns out")
        if self.given is not None and self.given == self.column:
            raise UserError(f"column {self.column!r} cannot be both the sentences and what they are given")

    @property
    def item_end(self) -> str:
        """What is written after a sentence, so that the same options read it back."""
        if self.separator is None:
            return "\n"
        return "\n\n" if self.separator == BLANK else f"\n{literal(self.separator)}\n"


@dataclass
class Taken:
    """What was taken of a source and what was left out, for the line that names the corpus."""

    facts: list[str] = field(default_factory=list)
    """Each once: the column, the delimiter, the encoding."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of sentences left out, by reason."""
    respaced: int = 0
    """Sentences whose white space was changed."""
    laid_out: int = 0
    """Sentences among these that were indented or had several lines."""

    def say(self, fact: str) -> None:
        """Add a fact, unless it is known."""
        if fact not in self.facts:
            self.facts.append(fact)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count sentences that are left out."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def add(self, other: "Taken") -> None:
        """Add what was taken of another source."""
        for fact in other.facts:
            self.say(fact)
        for reason, count in other.dropped.items():
            self.drop(reason, count)
        self.respaced += other.respaced
        self.laid_out += other.laid_out

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "Taken":
        """Read what `to_json` has returned."""
        return cls(**json.loads(text))


def literal(separator: str) -> str:
    r"""Return a separator with its escapes `\n` and `\t` replaced."""
    return separator.replace("\\n", "\n").replace("\\t", "\t")


def choose_columns(name: str, columns: Mapping[str, bool], how: Reading) -> tuple[str, str | None]:
    """Return the column that holds the sentences and that of what they are given, if any.

    name: of the file, for messages. columns: True for each column that holds text. Raise UserError where one
    is missing, or the first is ambiguous.
    """
    if how.given is None:
        return choose_column(name, columns, how.column), None
    given = choose_column(name, columns, how.given)
    rest = {each: is_text for each, is_text in columns.items() if each != given}
    return choose_column(name, rest, how.column), given


def with_given(sentence: str | None, given: object, taken: "Taken") -> str | None:
    """Return a sentence with what it is given before it; None, which is counted, where there is nothing."""
    if sentence is None:
        return None
    condition = "" if given is None else " ".join(str(given).split())
    if not condition:
        taken.drop(GIVEN_MISSING)
        return None
    return joined(condition, sentence)


def choose_column(name: str, columns: Mapping[str, bool], column: str | None) -> str:
    """Return the column that holds the sentences; raise UserError if it is missing or ambiguous.

    name: of the file, for messages. columns: True for each column that holds text. column: the user's choice.
    """
    listed = ", ".join(repr(each) for each in columns)
    if column is not None:
        if column not in columns:
            raise UserError(f"{name} has no column {column!r}; its columns: {listed}")
        return column
    text = [each for each, is_text in columns.items() if is_text] if len(columns) > 1 else list(columns)
    if len(text) == 1:
        return text[0]
    found = f"{len(text)} columns" if text else "no column"
    raise UserError(f"{name} has {found} of text; name one with --column; its columns: {listed}")


def bounded(rows: Iterable[Row], size: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Yield rows in lists of at most `ROWS`, fewer if they are long; `size` is the characters of one."""
    chunk: list[Row] = []
    total = 0
    for row in rows:
        chunk.append(row)
        total += size(row)
        if len(chunk) == ROWS or total > CHUNK_CHARACTERS:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def check_expansion(name: str, text: int, size: int) -> None:
    """Raise UserError for a compressed file of `size` bytes that holds far more `text` than any real one."""
    if text > max(EXPANDED, EXPANSION * size):
        raise UserError(
            f"{name} expands to more than {EXPANDED >> 20} MiB and {EXPANSION} times its size, which no text "
            "does; if it is meant, unpack it and give the text"
        )


def too_long(name: str, where: str) -> UserError:
    """Return the error for a sentence, a line or a row of more than `ITEM_CHARACTERS`."""
    return UserError(
        f"{name}: {where} has more than {ITEM_CHARACTERS >> 20} Mi characters, the most that is read at "
        "once; give one sentence a line, or say with --separator what stands between them"
    )


def _is_text_encoding(name: str) -> bool:
    try:
        b"a".decode(name, "replace")
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):  # UnicodeError, which codecs for names of hosts raise, is a ValueError
        return False
