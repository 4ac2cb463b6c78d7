"""Files that somebody else may have written: what is opened, how much is read, how deep it may be nested."""

import math
import re
import stat
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from seqgen.core.errors import UserError

D = TypeVar("D")

HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
DEEPEST = 64
"""How deep JSON or TOML may be nested: readers and what walks over their result recurse."""

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: True, "a device"),
)


def check_regular(path: Path, *, most: int | None = None) -> None:
    """Raise UserError where a path leads to no regular file, or to one of more than `most` bytes.

    Reading a FIFO never ends, nor does reading /dev/zero. Raise OSError where there is nothing.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = next(name for is_kind, name in _KINDS if is_kind(found.st_mode))
        raise UserError(f"'{path}' is {kind}, not a regular file; put the file itself there")
    if most is not None and found.st_size > most:
        raise UserError(f"'{path}' has {found.st_size:,} bytes; such a file has at most {most:,}")


def read_regular(path: Path, *, most: int) -> bytes:
    """Read a regular file of at most `most` bytes; UserError for any other, OSError where that fails."""
    check_regular(path, most=most)
    with path.open("rb") as file:
        return file.read(most)


def parse_nested(parse: Callable[[str], Any], content: bytes) -> Any:
    """Return what `json.loads` or `tomllib.loads` makes of UTF-8 text; ValueError for whatever is wrong.

    That is also nesting deeper than `DEEPEST`, and text that no file, name or terminal takes: NUL, and halves
    of surrogate pairs, which JSON can write as escapes, but for those by which Python holds the bytes of a
    path that is no UTF-8.
    """
    too_deep = f"it is nested more than {DEEPEST} deep"
    try:
        value = parse(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError(too_deep) from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(too_deep)


def _inside(value: Any) -> list[Any]:
    """Return what a value holds; ValueError for text that is not to be written."""
    if isinstance(value, str):
        if not value.isascii() and HALVES.search(value):
            raise ValueError("it holds half of a surrogate pair, which is no character")
        if "\0" in value:
            raise ValueError("it holds the character NUL")
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def is_of(kind: Any, value: Any) -> bool:
    """Whether a value is of a type or union of types; a truth value is no number, and a number is finite."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))


def read_fields(cls: type[D], values: Any) -> D:
    """Build a dataclass from a dictionary of its fields; ValueError where that is something else.

    A field with None, False or "" as its default may be missing, as in a file that is older than the field.
    """
    kinds = {name: dict if get_origin(kind) is dict else kind for name, kind in get_type_hints(cls).items()}
    optional = {field.name for field in fields(cls) if not field.default}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise ValueError(f"{values!r:.80} in place of {', '.join(kinds)}")
    for name in [*values, *(kinds.keys() - optional)]:
        if name not in kinds or name not in values or not is_of(kinds[name], values[name]):
            raise ValueError(f"{name}={values.get(name)!r:.80}")
    return cls(**values)
