"""Mutations: of bytes, of the values of JSON, and of what a checkpoint or a weights file holds."""

import gzip
import io
import json
import math
import random
import struct
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch

Mutate = Callable[[random.Random, Sequence[bytes]], bytes]
"""Make a case of good files."""

DEEP = "@deep@"
"""Stands for brackets nested 100,000 deep, which no writer of JSON could write."""
HALF = chr(0xD800)
"""Half of a surrogate pair, which JSON can write."""
WORDS = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\n",
    b"\r",
    b"\t",
    b'"',
    b"'",
    b",",
    b";",
    b"|",
    b"{",
    b"}",
    b"[",
    b"]",
    b"-1",
    b"1e400",
    b"NaN",
    b"9" * 5000,
    b"\xe2\x80\xa8",
    b"\x1b[2J",
    b"\\u0000",
    b"\\ud800",
    b"->",
    b"''",
    b"a(n)",
    b"[0]",
    b"[1e9]",
    b"\n%join characters\n",
    b"[" * 100_000,
)
NUMBERS = (0, 1, -1, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 2**31, 2**63, 10**40, 10**8, 10**7),
    *(0.5, -0.0, 1e30, 1e308, math.inf, math.nan),
    *("", "\0", HALF, "a" * 10_000, "../..", "/dev/zero", "-", "\x1b[2J", "image", "mle", "transformer"),
    *("os:system", "antigravity:x", ":x", "..:x"),
    *([], {}, [[]], [None], {"": {}}, {"kind": "os:system"}, DEEP),
)


def bytes_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the bytes of a file at one place or a few."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(content) + 1)
        rng.choice(BYTE_CHANGES)(rng, content, at, seeds)
    return bytes(content[: 1 << 22])


def _replace_byte(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    content[at : at + 1] = bytes([rng.randrange(256)])


def _flip_bit(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    content[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in content[at : at + 1])


def _delete(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    del content[at : at + _width(rng)]


def _repeat(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    content[at:at] = content[at : at + _width(rng)] * rng.choice((1, 2, 100))


def _cut(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    del content[at:]


def _insert_word(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    content[at:at] = rng.choice(WORDS)


def _write_number(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    form = rng.choice(("<I", ">I", "<Q", ">Q", "<H", "B"))
    bits = 8 * struct.calcsize(form)
    packed = struct.pack(form, rng.choice(NUMBERS) & (1 << bits) - 1)
    content[at : at + len(packed)] = packed


def _splice(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    content[at:] = other[rng.randrange(len(other) + 1) :]


def _scramble(rng: random.Random, content: bytearray, at: int, seeds: Sequence[bytes]) -> None:
    width = _width(rng)
    content[at : at + width] = rng.randbytes(width)


def _width(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 4, 8, 64, 1000))


BYTE_CHANGES = (
    _replace_byte,
    _flip_bit,
    _delete,
    _repeat,
    _cut,
    _insert_word,
    _write_number,
    _splice,
    _scramble,
)


def value_of(rng: random.Random, value: Any, values: Sequence[Any] = VALUES) -> Any:
    """Change nested dictionaries and lists at one place or a few."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(rng, value, values)
    return value


def _changed(rng: random.Random, value: Any, values: Sequence[Any]) -> Any:
    if not isinstance(value, dict | list | tuple) or not value or rng.random() < 0.1:
        return rng.choice(values)
    if isinstance(value, list | tuple):
        at = rng.randrange(len(value))
        if rng.random() < 0.8:
            inner = [_changed(rng, value[at], values)]
        else:
            inner = [value[at]] * rng.choice((0, 2, 99))
        return type(value)([*value[:at], *inner, *value[at + 1 :]])
    key = rng.choice(list(value))
    match rng.randrange(8):
        case 0:
            return {name: inner for name, inner in value.items() if name != key}
        case 1:
            return value | {rng.choice((f"{key}x", f"{key}.kind", "kind", "", "x" * 9999)): value[key]}
        case 2:
            return value | {key: value[rng.choice(list(value))]}
    return value | {key: _changed(rng, value[key], values)}


def json_text(value: Any) -> bytes:
    """Write JSON."""
    return json.dumps(value, indent=1).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000).encode()


def json_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the values of JSON, or its bytes."""
    if rng.random() < 0.3:
        return bytes_of(rng, seeds)
    return json_text(value_of(rng, json.loads(rng.choice(seeds))))


def toml_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the values of TOML, or its bytes."""
    values = value_of(rng, tomllib.loads(rng.choice(seeds).decode()))
    if rng.random() < 0.3 or not isinstance(values, dict):
        return bytes_of(rng, seeds)
    lines = [f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in values.items()]
    return "".join(lines).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000).encode()


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(each)}" for key, each in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return {"NaN": "nan", "Infinity": "inf", "null": '"none"'}.get(written := json.dumps(value), written)


def json_lines_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the values of JSON lines, or their bytes."""
    if rng.random() < 0.3:
        return bytes_of(rng, seeds)
    rows = value_of(rng, [json.loads(line) for line in rng.choice(seeds).splitlines()])
    listed = rows if isinstance(rows, list) else [rows]
    return b"".join(json_text(row).replace(b"\n", b"") + b"\n" for row in listed)


def gzip_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change a gzip file, or what is in it."""
    if rng.random() < 0.5:
        return bytes_of(rng, seeds)
    return gzip.compress(bytes_of(rng, [gzip.decompress(each) for each in seeds]), 1)


def idx_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change sizes in the head of an IDX file, or its bytes."""
    if rng.random() < 0.5:
        return bytes_of(rng, seeds)
    content = bytearray(rng.choice(seeds))
    for at in (4, 8, 12):
        if rng.random() < 0.6:
            content[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 3, 2**16, 2**31, 2**32 - 1)))
    return bytes(content)


def parquet_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the bytes of a Parquet file, or write one of other columns."""
    if rng.random() < 0.6:
        return bytes_of(rng, seeds)
    rows = rng.choice((0, 1, 3, 50))
    columns = {
        rng.choice(("text", "image", "label", "", "img", "é")): _column(rng, rows)
        for _ in range(rng.choice((0, 1, 2, 3)))
    }
    sink = io.BytesIO()
    compression = rng.choice(("none", "zstd", "gzip"))
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, compression=compression)
    return sink.getvalue()


def _column(rng: random.Random, rows: int) -> pyarrow.Array:
    """Return a column of one of the types that a table may have, also of text that is not UTF-8."""
    numbers = [rng.randrange(99) for _ in range(rows)]
    text = pyarrow.array([f"a sentence {n}" for n in numbers], pyarrow.string())
    columns = (
        text,
        text.dictionary_encode(),
        pyarrow.array([[f"word {n}"] * (n % 3) for n in numbers], pyarrow.list_(pyarrow.string())),
        pyarrow.array([{"bytes": rng.randbytes(n), "path": "x"} for n in numbers]),
        pyarrow.array([None] * rows, rng.choice((pyarrow.null(), pyarrow.string(), pyarrow.int64()))),
        pyarrow.array(numbers, pyarrow.int64()),
        pyarrow.array([n / 7 for n in numbers], pyarrow.float64()),
        pyarrow.array([b"\xff%d" % n for n in numbers], pyarrow.binary()).view(pyarrow.string()),
        pyarrow.array(numbers, pyarrow.timestamp("us")),
        pyarrow.array([None if n % 2 else f"text {n}" for n in numbers], pyarrow.large_string()),
    )
    return rng.choice(columns)


def _tensors(rng: random.Random) -> tuple[Any, ...]:
    """Return what a checkpoint should not hold: tensors of other kinds, and the plain values of JSON."""
    size = rng.choice((0, 1, 5, 11))
    plain = [value for value in VALUES if value != HALF]
    return (
        *plain,
        torch.zeros(size),
        torch.full((size, 5), math.nan),
        torch.zeros(size, dtype=torch.int64),
        torch.zeros(size, size).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(5, dtype=torch.complex64),
        torch.full((2, 3), 1e38),
        torch.zeros(3).half(),
        torch.zeros(5056, dtype=torch.uint8),
        {1: 2},
        {-1: {}},
        (1, 2),
    )


def state_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the bytes of a checkpoint, the bytes of a part of its archive, or its values."""
    kind = rng.random()
    if kind < 0.2:
        return bytes_of(rng, seeds)
    seed, sink = rng.choice(seeds), io.BytesIO()
    if kind < 0.6:
        packing = zipfile.ZIP_DEFLATED if kind < 0.22 else zipfile.ZIP_STORED
        with zipfile.ZipFile(io.BytesIO(seed)) as archive, zipfile.ZipFile(sink, "w", packing) as copy:
            for part in archive.namelist():
                is_changed = part.endswith("data.pkl") or rng.random() < 0.02
                content = archive.read(part)
                copy.writestr(part, bytes_of(rng, [content]) if is_changed else content)
        return sink.getvalue()
    torch.save(value_of(rng, torch.load(io.BytesIO(seed), weights_only=True), _tensors(rng)), sink)
    return sink.getvalue()


def safetensors_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the bytes of a safetensors file, the JSON of its head, or numbers."""
    kind = rng.random()
    if kind < 0.3:
        return bytes_of(rng, seeds)
    content = rng.choice(seeds)
    (size,) = struct.unpack("<Q", content[:8])
    head, numbers = content[8 : 8 + size], bytearray(content[8 + size :])
    if kind < 0.7:
        head = json_text(value_of(rng, json.loads(head)))
    for _ in range(rng.choice((0, 1, 5))):
        at = 4 * rng.randrange(len(numbers) // 4)
        number = rng.choice((math.nan, math.inf, 3e38, -3e38, 1e-40, 0.0))
        numbers[at : at + 4] = struct.pack("<f", number)
    return struct.pack("<Q", len(head)) + head + bytes(numbers)


def npz_of(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Change the bytes of an .npz, or its arrays."""
    if rng.random() < 0.5:
        return bytes_of(rng, seeds)
    with np.load(io.BytesIO(rng.choice(seeds))) as stored:
        arrays = {name: stored[name] for name in stored.files}
    others = (
        np.zeros(0),
        np.zeros((3, 5)),
        np.full((5, 3), np.nan),
        np.array(["x"]),
        np.zeros(3, complex),
        np.zeros(()),
        np.zeros((2, 3, 5)),
        np.full((7, 2), 1e300),
        np.zeros((2**40, 0)),
    )
    changed = arrays | {rng.choice([*arrays, "other"]): rng.choice(others)}
    if rng.random() < 0.3:
        del changed[rng.choice(list(changed))]
    sink = io.BytesIO()
    np.savez(sink, **changed)
    return sink.getvalue()
