"""Settings as frozen dataclasses: typed overrides from `key=value` and TOML, help texts from their source.

A settings class documents each field with a string literal on the line below it. Fields may be settings
classes themselves, with dotted keys (`discriminator.hidden`). The end of a dotted key names the setting too
if it is unambiguous: `layers`, if only one part has layers.
"""

import ast
import dataclasses
import functools
import inspect
import json
import textwrap
import tomllib
import types
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from seqgen.core.errors import UserError, did_you_mean
from seqgen.core.untrusted import parse_nested

C = TypeVar("C")

MOST_BYTES = 1 << 20
"""Size of a file of settings, at most."""


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings object as nested plain dictionaries, ready for JSON."""
    # As JSON reads it back, where a tuple is a list.
    return dataclasses.asdict(
        config, dict_factory=lambda items: {name: _plain(value) for name, value in items}
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """Build settings from nested dictionaries; raise UserError for an unknown key or a wrong type."""
    return override(cls(), values)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Split `key=value` strings; raise UserError if one has no equals sign."""
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set takes key=value, for example --set hidden=256; got '{pair}'")
        values[key.strip()] = value.strip()
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings, with a byte-order mark or without; UserError if missing or malformed."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"cannot read the settings file '{path}': {error.strerror}; give a TOML file with --config"
        ) from error
    if len(content) > MOST_BYTES:
        raise UserError(f"the settings file '{path}' has more than {MOST_BYTES:,} bytes; give another")
    try:
        return parse_nested(tomllib.loads, content)
    except ValueError as error:
        raise UserError(f"'{path}' is not TOML: {error}; write lines such as hidden = 256") from error


def override(config: C, values: Mapping[str, Any]) -> C:
    """Return a copy of `config` with other values under dotted or nested keys, of the types of the fields.

    Strings are parsed (`--set dropout=0.3`); other values must have the right type. Raise UserError for an
    unknown key, naming the nearest one; for an ambiguous end of a key, naming all candidates; and for a value
    of the wrong type, naming what is allowed.
    """
    names = [key for key, *_ in describe(type(config), config)]
    flat = {
        (_resolve(key, names) if key.endswith("kind") else key): value
        for key, value in flatten(values).items()
    }
    config = _of_kinds(config, flat)
    known = {key: (kind, default) for key, kind, default, _ in describe(type(config), config)}
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        full = _resolve(key, list(known))
        nested[full] = _coerce(full, known[full][0], value)
    return _replace(config, nested)


def describe(cls: type, config: Any = None) -> list[tuple[str, Any, Any, str]]:
    """Return (dotted key, type, default, help text) of every setting of a class, in order of definition.

    The defaults are those of `config` if given, else of `cls()`.
    """
    rows: list[tuple[str, Any, Any, str]] = []
    defaults = cls() if config is None else config
    hints, help_text = typing.get_type_hints(cls), _field_docs(cls)
    for field in dataclasses.fields(cls):
        kind, default = hints[field.name], getattr(defaults, field.name)
        if dataclasses.is_dataclass(default):
            parts = describe(type(default), default)
            rows += [(f"{field.name}.{key}", *rest) for key, *rest in parts]  # type: ignore[misc]
        else:
            rows.append((field.name, kind, default, help_text.get(field.name, "")))
    return rows


class OutOfRange(UserError):
    """A value of a setting is out of range; the message has the dotted key that the user knows."""

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        super().__init__(f"setting {name}={value} is out of range: it must be {allowed}")
        self.parts = name, value, allowed


def bounds(config: Any, **limits: tuple[float | None, float | None]) -> None:
    """Check fields against inclusive (lowest, highest) limits, None being no limit; raise OutOfRange.

    Of a field with several numbers every one is checked.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if all((low is None or each >= low) and (high is None or each <= high) for each in numbers):
            continue
        value = _show(value)
        allowed = " and ".join(
            f"{word} {limit:g}" for word, limit in (("at least", low), ("at most", high)) if limit is not None
        )
        raise OutOfRange(name, value, allowed)


def help_table(config: Any) -> str:
    """Format settings as aligned lines: key=value, its help text, and the allowed values if they are few."""
    described = describe(type(config), config)
    rows = [(f"{key}={_show(value)}", text + _choices(kind)) for key, kind, value, text in described]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:<{width}}  {text}" for left, text in rows)


def _choices(kind: Any) -> str:
    """Return the end of the help text of a setting with few allowed values: ` [lstm | gru]`."""
    for each in (kind, *typing.get_args(kind)):
        if typing.get_origin(each) is typing.Literal:
            return f" [{' | '.join(map(str, typing.get_args(each)))}]"
    return ""


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@functools.cache
def _field_docs(cls: type) -> dict[str, str]:
    """Read the string literal below each field from the source of the class and of those it extends."""
    docs = {}
    for part in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                docs[field.target.id] = " ".join(str(below.value.value).split())
    return docs


def _of_kinds(config: C, flat: Mapping[str, Any]) -> C:
    """Return `config` with the defaults of another kind for each part of which `flat` sets another `kind`.

    Such a part has a field `kind` and a class method `of_kind`, which returns the settings class of a kind.
    """
    changes = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        part = getattr(config, field.name)
        kind = flat.get(f"{field.name}.kind")
        if hasattr(part, "of_kind") and kind is not None and kind != part.kind:
            changes[field.name] = part.of_kind(str(kind))()
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]


def _resolve(key: str, known: list[str]) -> str:
    if key in known:
        return key
    fits = [name for name in known if name.endswith("." + key)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UserError(f"setting '{key}' fits {' and '.join(fits)}; write the full name")
    endings = Counter(name.rsplit(".")[-1] for name in known)
    alone = [ending for ending, count in endings.items() if count == 1]
    raise UserError(f"no setting '{key}'" + did_you_mean(key, dict.fromkeys([*known, *alone])))


def _replace(config: C, flat: Mapping[str, Any]) -> C:
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        head, dot, rest = key.partition(".")
        if dot:
            parts.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    for head, part in parts.items():
        try:
            changes[head] = _replace(getattr(config, head), part)
        except OutOfRange as error:
            name, value, allowed = error.parts
            raise OutOfRange(f"{head}.{name}", value, allowed) from error
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _coerce(key: str, kind: Any, value: Any) -> Any:
    """Convert `value` to the type of a field; raise UserError with what is allowed."""
    if typing.get_origin(kind) is typing.Literal:
        allowed = typing.get_args(kind)
        if value in allowed:
            return value
        raise UserError(f"setting {key}={value}" + did_you_mean(str(value), map(str, allowed)))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None or str(value).lower() in ("none", "null"):
            return None
        (kind,) = (arg for arg in typing.get_args(kind) if arg is not type(None))
        return _coerce(key, kind, value)
    if typing.get_origin(kind) is tuple:
        return _numbers(key, value)
    try:
        return _parse(kind, value)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"setting {key} takes {_KINDS[kind]}; got '{value!s:.80}'") from error


def _numbers(key: str, value: Any) -> tuple[int, ...]:
    """Convert `128,256`, a list or one number to whole numbers, at least one."""
    parts = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    )
    try:
        if not parts:
            raise ValueError(value)
        return tuple(_parse(int, part) for part in parts)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"setting {key} takes whole numbers separated by commas, as in 128,256; got '{value!s:.80}'"
        ) from error


LARGEST, GREATEST = 2**40, 1e30
"""The largest absolute value of a whole number, beyond which no torch function accepts a size, and of any
number: float32 ends at 3.4e38."""
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _parse(kind: Any, value: Any) -> Any:
    if kind is bool:
        return _BOOLEANS[str(value).lower()]
    if isinstance(value, bool):
        raise ValueError(value)
    if kind is int:
        number = float(value)
        if number != int(number) or abs(number) > LARGEST:
            raise ValueError(value)
        return int(number)
    number_or_text = kind(value)
    if kind is float and not abs(number_or_text) <= GREATEST:
        raise ValueError(value)
    return number_or_text
