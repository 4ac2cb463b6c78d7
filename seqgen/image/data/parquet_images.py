"""Parquet files in the schema of the hub: a column of encoded pictures, and a column of labels."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seqgen.core.errors import UserError, did_you_mean
from seqgen.data.tables import check_pages
from seqgen.image.data.folders import split_of
from seqgen.image.data.pictures import Facts, ReadOptions, decode_pictures

if TYPE_CHECKING:
    from pyarrow import Array, RecordBatch, Schema

ROWS = 64
"""Rows that are decoded at a time."""
COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels")
"""Names of the columns of pictures and of labels."""
PICTURE = re.compile(r"(struct<.*bytes: (large_)?binary.*>|(large_)?binary)$")
"""The type of a column of pictures: their bytes, alone or beside the path that they had."""
WORDS = re.compile(r"(large_)?string(_view)?$|dictionary<values=(large_)?string")


class Columns(NamedTuple):
    """The names of the columns that are read."""

    pictures: str
    labels: str | None


def columns_of(name: str, schema: "Schema", label_column: str | None) -> Columns:
    """Choose the column of pictures, and that of labels: the one named, or one of the usual names.

    UserError where there is no column of pictures, or none of the name given.
    """
    kinds = {each.name: str(each.type) for each in schema}
    pictures = [each for each, kind in kinds.items() if PICTURE.match(kind)]
    column = next((each for each in (*COLUMNS, *pictures[:1]) if each in pictures), None)
    if column is None:
        raise UserError(
            f"'{name}' has no column of pictures (image or img, with their bytes); "
            f"its columns: {', '.join(kinds)}"
        )
    labels = label_column or next((each for each in LABEL_COLUMNS if each in kinds), None)
    if labels is not None and labels not in kinds:
        raise UserError(
            f"'{name}' has no column '{labels}' for --label-column{did_you_mean(labels, list(kinds))}; its "
            f"columns: {', '.join(kinds)}"
        )
    if labels is not None and not (kinds[labels].startswith(("int", "uint")) or WORDS.match(kinds[labels])):
        raise UserError(f"'{name}' has labels of type {kinds[labels]}; they must be whole numbers or words")
    return Columns(column, labels)


def read_folder(
    folder: Path, tables: list[Path], options: ReadOptions, facts: Facts
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the images (N, C, H, W) and the labels (N,), whole numbers or words, of each split.

    UserError where there are none to train on, or files that do not fit together or cannot be read.
    """
    by_split: dict[str, list[Path]] = {}
    for path in tables:
        split = _split_of_table(path.relative_to(folder))
        if split:
            by_split.setdefault(split, []).append(path)
    if "train" not in by_split:
        raise UserError(f"'{folder}' has no train*.parquet; it holds {', '.join(p.name for p in tables)}")
    splits = {}
    for name, parts in by_split.items():
        first, *others = [_schema(path) for path in parts]
        for path, schema in zip(parts[1:], others, strict=True):
            if schema != first:
                raise UserError(f"'{parts[0]}' and '{path}' have different columns; keep those of one kind")
        columns = columns_of(str(parts[0]), first, options.label_column)
        splits[name] = read_rows(
            [(str(path), partial(_batches, path, columns)) for path in parts], columns, options, facts
        )
    return splits


def _split_of_table(path: Path) -> str | None:
    """Return the split that a file of a table holds by its name, or by the nearest folder that names one."""
    by_prefix = next((split for split in ("train", "test") if path.name.lower().startswith(split)), None)
    return by_prefix or next(filter(None, map(split_of, reversed(path.parts))), None)


def read_table(table: Any, name: str, options: ReadOptions, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and the labels of a split of a `datasets` dataset; name: for messages."""
    whole = table.with_format("arrow")[:]
    columns = columns_of(name, whole.schema, options.label_column)
    return read_rows([(name, whole.to_batches)], columns, options, facts)


@contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as error:  # a name need not be UTF-8
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"'{path}' is not a complete Parquet file ({reason}); download it again") from error


def _schema(path: Path) -> "Schema":
    from pyarrow import parquet

    with _reading_parquet(path):
        schema = parquet.ParquetFile(path).schema_arrow
        str(schema)  # names inside of a column are decoded only now
        return schema


def _batches(path: Path, columns: Columns) -> Iterator["RecordBatch"]:
    """Yield a few rows at a time, as a few bytes of a file can stand for a large picture a million times."""
    from pyarrow import parquet

    with _reading_parquet(path):
        file = parquet.ParquetFile(path)
        check_pages(file.metadata, str(path), path.stat().st_size)
        batches = file.iter_batches(ROWS, columns=[name for name in columns if name is not None])
    while True:
        with _reading_parquet(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def read_rows(
    parts: Sequence[tuple[str, Callable[[], Iterable["RecordBatch"]]]],
    columns: Columns,
    options: ReadOptions,
    facts: Facts,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of tables, each given by its name and what yields its rows."""
    labels: list[np.ndarray] = []
    cells = (cell for name, batches in parts for cell in _cells(name, batches(), columns, labels))
    pixels = decode_pictures(cells, options, facts)
    return pixels, np.concatenate(labels) if labels else np.full(len(pixels), -1)


def _cells(
    name: str, batches: Iterable["RecordBatch"], columns: Columns, labels: list[np.ndarray]
) -> Iterator[tuple[str, bytes | None]]:
    """Yield pictures with their places, and add the labels of the rows, where they have them."""
    from pyarrow import compute, types

    row = 0
    for batch in batches:
        if columns.labels is not None:
            labels.append(_labels(name, batch.column(columns.labels)))
        pictures = batch.column(columns.pictures)
        if types.is_struct(pictures.type):
            pictures = compute.struct_field(pictures, "bytes")
        for content in pictures.to_pylist():
            yield f"{name}, row {row}", content
            row += 1


def _labels(name: str, column: "Array") -> np.ndarray:
    """Return a column of labels as whole numbers or words; (N,)."""
    if column.null_count:
        raise UserError(f"'{name}' has rows without a label; give each a label, or another --label-column")
    if WORDS.match(str(column.type)):
        try:
            return np.array(column.to_pylist(), str)
        except UnicodeDecodeError as error:
            raise UserError(f"'{name}' has labels that are not UTF-8; write it again") from error
    return column.to_numpy(zero_copy_only=False).astype(np.int64)
