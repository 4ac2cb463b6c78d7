"""Reading a column of text from CSV, TSV, JSON and Parquet files, in bounded memory."""

from collections.abc import Callable
from typing import IO, Any

from seqgen.core.errors import UserError
from seqgen.data import reading
from seqgen.data.delimited import read_csv, read_tsv
from seqgen.data.json_rows import MISSING, read_json, read_jsonl
from seqgen.data.reading import (
    Chunks,
    Reading,
    Taken,
    bounded,
    check_expansion,
    choose_columns,
    too_long,
    with_given,
)


def read_parquet(file: IO[bytes], name: str, how: Reading, taken: Taken) -> Chunks:
    """Yield a column of text of a Parquet file; None for null."""
    import pyarrow
    import pyarrow.parquet

    column = None
    try:
        kinds = {each.name: each.type for each in pyarrow.parquet.ParquetFile(file).schema_arrow}
        text = {each: _is_text(kind) for each, kind in kinds.items()}
        column, given = choose_columns(name, text, how)
        if not text[column]:
            raise UserError(f"{name}: column {column!r} holds {kinds[column]}, not text")
        taken.say(f"column {column!r} of {len(kinds)}" if len(kinds) > 1 else f"column {column!r}")
        size = file.seek(0, 2)
        if given is not None:
            taken.say(f"given {given!r}")
        # Dictionaries stay dictionaries, as a few bytes of a file can stand for a long text a million times.
        file.seek(0)
        table = pyarrow.parquet.ParquetFile(file, read_dictionary=[column])
        columns = [column] if given is None else [column, given]
        check_pages(table.metadata, name, size)
        row = total = 0
        for batch in table.iter_batches(batch_size=reading.ROWS, columns=columns):
            values = _values(batch.column(column))
            taken.drop(MISSING, values.count(None))
            if given is not None:
                pairs = zip(values, batch.column(given).to_pylist(), strict=True)
                values = [with_given(*pair, taken) for pair in pairs]
            for chunk in bounded(values, lambda value: len(value or "")):
                for value in chunk:
                    row += 1
                    total += len(value or "")
                    if value is not None and len(value) > reading.ITEM_CHARACTERS:
                        raise too_long(name, f"row {row}")
                check_expansion(name, total, size)
                yield chunk
    except UnicodeDecodeError as error:
        what = f"column {column!r} holds text" if column else "the name of a column is text"
        raise UserError(f"{name}: {what} that is not UTF-8; write it again") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{name} is no Parquet file: {str(error).splitlines()[0]}") from error


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _values(column: Any) -> list[str | None]:
    """Return the values of a column; equal ones of a dictionary are one string."""
    if not hasattr(column, "dictionary"):
        return column.to_pylist()
    known = column.dictionary.to_pylist()
    indices = column.indices.to_pylist()
    if any(i is not None and not 0 <= i < len(known) for i in indices):
        raise OSError("a value stands at no place of its dictionary")
    return [None if i is None else known[i] for i in indices]


def check_pages(metadata: Any, name: str, size: int) -> None:
    """Raise UserError where the pages of a Parquet file of `size` bytes, each read at once, expand too much.

    Of a column alone nothing is asked: where its description is damaged, pyarrow ends the process.
    """
    groups = range(metadata.num_row_groups)
    check_expansion(name, sum(metadata.row_group(group).total_byte_size for group in groups), size)


TABLES: dict[str, Callable[[IO[bytes], str, Reading, Taken], Chunks]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}
"""The reader of each suffix of a table."""
