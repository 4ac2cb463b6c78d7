"""Reading a key of JSON objects: one object a line, or an array or a sequence of them."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from seqgen.core.errors import UserError
from seqgen.data import reading
from seqgen.data.decoding import blocks, lines
from seqgen.data.reading import (
    Chunks,
    Reading,
    Taken,
    bounded,
    choose_column,
    choose_columns,
    too_long,
    with_given,
)

MISSING = "null or missing"

_BETWEEN = re.compile(r"[\s,]*")

Value = tuple[str, int, Any]
"""Where a value is, for messages; its characters; the value."""


def read_jsonl(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Yield the values of a key of objects, one a line; None for an object without the key or with null."""
    yield from _column(_by_line(file, name, how, taken), name, how, taken)


def read_json(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Do as `read_jsonl` for an array of objects, or of strings, or objects one after the other."""
    yield from _column(_by_value(file, name, how, taken), name, how, taken)


def _column(values: Iterator[Value], name: str, how: Reading, taken: Taken) -> Chunks:
    chunks = bounded(values, lambda value: value[1])
    head = next(chunks, [])
    if not head:
        return
    if all(isinstance(value, str) for _, _, value in head):
        yield from _strings(chain([head], chunks), name, how)
        return
    columns: dict[str, bool] = {}
    for where, _, row in head:
        for each, value in _object(row, name, where).items():
            columns[each] = columns.get(each, False) or isinstance(value, str)
    column = how.column or choose_columns(name, columns, how)[0]
    taken.say(f"column {column!r} of {len(columns)}" if len(columns) > 1 else f"column {column!r}")
    wanted = {each for each in (column, how.given) if each is not None}
    if how.given is not None:
        taken.say(f"given {how.given!r}")
    known = wanted & columns.keys()
    for chunk in chain([head], chunks):
        rows = [_object(row, name, where) for where, _, row in chunk]
        texts = [
            _text(row.get(column), column, name, where)
            for (where, _, _), row in zip(chunk, rows, strict=True)
        ]
        taken.drop(MISSING, texts.count(None))
        if len(known) < len(wanted):
            known |= {each for row in rows for each in wanted & row.keys()}
        if how.given is not None:
            given = [_scalar(row.get(how.given), how.given, name) for row in rows]
            texts = [with_given(*pair, taken) for pair in zip(texts, given, strict=True)]
        yield texts
    for missing in wanted - known:
        choose_column(name, columns, missing)


def _strings(chunks: Iterator[list[Value]], name: str, how: Reading) -> Chunks:
    if named := how.column or how.given:
        raise UserError(f"{name} holds strings, not objects, and has no column {named!r}; leave it out")
    for chunk in chunks:
        for where, _, value in chunk:
            if not isinstance(value, str):
                raise UserError(f"{name}: {where} is no string like those before it; give strings or objects")
        yield [value for _, _, value in chunk]


def _object(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{name}: {where} is no JSON object; give one object a line, or an array of objects")
    return value


def _text(value: Any, column: str, name: str, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        kind = type(value).__name__
        raise UserError(f"{name}: {where}: {column!r} holds {kind} {value!r:.40}, not text")
    return value


def _scalar(value: Any, column: str, name: str) -> Any:
    if isinstance(value, list | dict):
        kind = type(value).__name__
        raise UserError(
            f"{name}: {column!r} holds {kind} {value!r:.40}, no label or text; name another column"
        )
    return value


def _by_line(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Iterator[Value]:
    for number, line in enumerate(lines(file, name, how, taken), 1):
        if line.strip():
            try:
                yield f"line {number}", len(line), json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{name}: line {number} is no JSON: {_reason(error)}") from error


def _by_value(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Iterator[Value]:
    """Yield the values of an array, or of a file of values, each as soon as it is complete."""
    decoder = json.JSONDecoder()
    source = blocks(file, name, how, taken)
    text = next((block.lstrip() for block in source if block.strip()), "")
    is_array = text.startswith("[")
    at, number = int(is_array), 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        if is_array and text[at : at + 1] == "]":
            if text[at + 1 :].strip() or any(block.strip() for block in source):
                raise UserError(
                    f"{name}: there is more after the end of the array; give one array, or JSON lines"
                )
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except RecursionError as error:
            raise UserError(f"{name}: value {number + 1} is no JSON: {_reason(error)}") from error
        except ValueError as error:
            more = next(source, None)
            if more is None:
                if at == len(text) and not is_array:
                    return
                raise UserError(f"{name}: value {number + 1} is no JSON: {_reason(error)}") from error
            if len(text) - at > reading.ITEM_CHARACTERS:
                raise too_long(name, f"value {number + 1}") from error
            text, at = text[at:] + more, 0
            continue
        number += 1
        yield f"value {number}", end - at, value
        at = end


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
