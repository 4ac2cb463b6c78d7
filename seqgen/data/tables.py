"""Reading a column of text from CSV, TSV, JSON-lines and Parquet files, in bounded memory."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import IO

from seqgen.core.errors import UserError
from seqgen.data.decoding import lines

ROWS = 1000
"""Rows read at a time; the first so many rows also decide which columns hold text."""

Chunks = Iterator[list[str]]


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


def _read_csv(file: IO[bytes], name: str, column: str | None) -> Chunks:
    yield from _read_table(csv.reader(lines(file, name)), name, column)


def _read_tsv(file: IO[bytes], name: str, column: str | None) -> Chunks:
    # There is no quoting in tab-separated values (IANA text/tab-separated-values): a quotation mark is text.
    rows = (line.rstrip("\n").split("\t") for line in lines(file, name))
    yield from _read_table(rows, name, column)


def _read_table(rows: Iterator[list[str]], name: str, column: str | None) -> Chunks:
    """Yield a column of rows, of which the first has the names; a row too short for the column is skipped."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        header = next(rows, None)
        if header is None:
            return
        head = list(islice(rows, ROWS))
        columns = {each: any(map(_is_text, _field(head, i))) for i, each in enumerate(header)}
        at = header.index(choose_column(name, columns, column))
        for chunk in chain([head], iter(lambda: list(islice(rows, ROWS)), [])):
            yield list(_field(chunk, at))
    except csv.Error as error:
        raise UserError(f"{name} is no CSV file: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _field(rows: list[list[str]], at: int) -> Iterator[str]:
    return (row[at] for row in rows if len(row) > at)


def _is_text(value: str) -> bool:
    """Return True if a field of a CSV file is neither empty nor a number."""
    try:
        float(value or "0")
    except ValueError:
        return not value.isspace()
    return False


def _read_jsonl(file: IO[bytes], name: str, column: str | None) -> Chunks:
    """Yield the values of a key of objects, one a line; objects without the key or with null are skipped."""
    objects = _objects(file, name)
    head = list(islice(objects, ROWS))
    columns: dict[str, bool] = {}
    for _, row in head:
        for each, value in row.items():
            columns[each] = columns.get(each, False) or isinstance(value, str)
    if not head:
        return
    column = choose_column(name, columns, column)
    for chunk in chain([head], iter(lambda: list(islice(objects, ROWS)), [])):
        values = [(line, row[column]) for line, row in chunk if row.get(column) is not None]
        for line, value in values:
            if not isinstance(value, str):
                kind = type(value).__name__
                raise UserError(f"{name}: line {line}: {column!r} holds {kind} {value!r:.40}, not text")
        yield [value for _, value in values]


def _objects(file: IO[bytes], name: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(lines(file, name), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}: line {number} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{name}: line {number} is no JSON object; give one object a line")
        yield number, value


def _read_parquet(file: IO[bytes], name: str, column: str | None) -> Chunks:
    import pyarrow
    import pyarrow.parquet
    from pyarrow import types

    try:
        table = pyarrow.parquet.ParquetFile(file)
        kinds = {each.name: each.type for each in table.schema_arrow}
        values = {each: getattr(kind, "value_type", kind) for each, kind in kinds.items()}  # of dictionaries
        text = {each: types.is_string(kind) or types.is_large_string(kind) for each, kind in values.items()}
        column = choose_column(name, text, column)
        if not text[column]:
            raise UserError(f"{name}: column {column!r} holds {kinds[column]}, not text")
        for batch in table.iter_batches(batch_size=ROWS, columns=[column]):
            yield [value for value in batch.column(0).to_pylist() if value is not None]
    except pyarrow.ArrowException as error:
        raise UserError(f"{name} is no Parquet file: {str(error).splitlines()[0]}") from error


TABLES: dict[str, Callable[[IO[bytes], str, str | None], Chunks]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
"""The reader of each suffix of a table."""
