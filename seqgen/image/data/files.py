"""Where images come from: scikit-learn's digits, IDX and Parquet files, folders of pictures, the hub."""

import gzip
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqgen.core.errors import UserError
from seqgen.data import huggingface
from seqgen.data.files import reading

if TYPE_CHECKING:
    from pyarrow import Table

Split = tuple[np.ndarray, np.ndarray]
"""Pixels (N, C, H, W) uint8 and labels (N,) int64, -1 where there is none."""

HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Names that stand for datasets of the hub, read through the `datasets` library."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
IDX_BYTES = 0x08
"""The type code of unsigned bytes in an IDX header."""
IDX_NAMES = {"train": ("train",), "test": ("t10k", "test")}
FOLDER_NAMES = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
COLUMNS = ("image", "img")
"""What the hub's datasets call the column of pictures."""
GREY = frozenset({"1", "L", "LA"})
COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class Found:
    """What a name or a folder stands for."""

    splits: dict[str, Split]
    """`train`, perhaps `valid` and `test`"""
    names: list[str] = field(default_factory=list)
    """of the labels 0, 1, 2, …, where they have names"""


def read(spec: str) -> Found:
    """Return what a name or a folder stands for.

    Raises:
        UserError: no such folder, nothing readable in it, corrupt files, or images of several sizes.
    """
    if spec == "digits":
        return Found({"train": _digits()})
    folder = Path(spec)
    if spec and folder.is_dir():
        found = _folder(folder)
    elif spec in HUB:
        tables = huggingface.load(HUB[spec])
        found = Found(
            {name: _table(split.with_format("arrow")[:], f"{spec}, {name}") for name, split in tables.items()}
        )
    else:
        names = ", ".join(["digits", *HUB])
        raise UserError(f"no images at '{spec}'; give a folder of images, or one of: {names}")
    _same_shape(spec, found.splits)
    return found


def _digits() -> Split:
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)[:, None]
    return pixels, found.target.astype(np.int64)


def files_in(folder: Path) -> list[Path]:
    """Return the files at any depth of a folder in order of their names, hidden ones left out."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures at any depth of a folder in order of their names."""
    return [path for path in files_in(folder) if path.suffix.lower() in PICTURES]


def _folder(folder: Path) -> Found:
    inside = files_in(folder)
    if any("images" in path.name and "idx3" in path.name for path in inside):
        return Found(_idx(folder, inside))
    tables = [path for path in inside if path.suffix == ".parquet"]
    if tables:
        return Found(_parquet(folder, tables))
    pictures = pictures_in(folder)
    if pictures:
        return _pictures(folder, pictures)
    raise UserError(
        f"'{folder}' holds no images; looked for IDX files (train-images-idx3-ubyte, also .gz), "
        f"train*.parquet, and pictures ({', '.join(sorted(PICTURES))})"
    )


def _idx(folder: Path, inside: list[Path]) -> dict[str, Split]:
    splits = {}
    for name, stems in IDX_NAMES.items():
        images = _one(folder, inside, [f"{stem}-images" for stem in stems])
        labels = _one(folder, inside, [f"{stem}-labels" for stem in stems])
        if images is None:
            continue
        pixels = _idx_array(images, dimensions=3)[:, None]
        marks = np.full(len(pixels), -1) if labels is None else _idx_array(labels, dimensions=1)
        if len(marks) != len(pixels):
            raise UserError(f"'{images}' has {len(pixels)} images and '{labels}' {len(marks)} labels")
        splits[name] = pixels, marks.astype(np.int64)
    if "train" not in splits:
        raise UserError(f"'{folder}' has no training images; IDX files are called train-images-idx3-ubyte")
    return splits


def _one(folder: Path, inside: list[Path], stems: list[str]) -> Path | None:
    found = [path for path in inside if any(stem in path.name for stem in stems)]
    if len(found) > 1:
        raise UserError(f"'{folder}' has both '{found[0].name}' and '{found[1].name}'; keep one of them")
    return found[0] if found else None


def _idx_array(path: Path, *, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes: two zeros, the type, the number of dimensions, each as big-endian
    uint32, then the values."""
    with reading(str(path)), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read()
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, IDX_BYTES, dimensions]):
        raise UserError(f"'{path}' is no IDX file of bytes in {dimensions} dimensions; fetch it again")
    sizes = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).tolist())
    wanted = int(np.prod(sizes, dtype=np.int64))
    if len(content) - head != wanted:
        raise UserError(
            f"'{path}' holds {len(content) - head:,} bytes of values, not {wanted:,}; fetch it again"
        )
    if not wanted:
        raise UserError(f"'{path}' is empty: its size is {sizes}; give at least a few images")
    return np.frombuffer(content, np.uint8, offset=head).reshape(sizes).copy()


def _parquet(folder: Path, tables: list[Path]) -> dict[str, Split]:
    from pyarrow import ArrowException, concat_tables, parquet

    splits = {}
    for name, beginnings in FOLDER_NAMES.items():
        parts = [path for path in tables if path.name.startswith(beginnings)]
        if not parts:
            continue
        read = []
        for path in parts:
            try:
                read.append(parquet.read_table(path))
            except (ArrowException, OSError) as error:
                reason = next(iter(str(error).splitlines()), "")
                raise UserError(f"'{path}' is no whole Parquet file ({reason}); fetch it again") from error
        for path, table in zip(parts, read, strict=True):
            if table.schema != read[0].schema:
                raise UserError(f"'{parts[0]}' and '{path}' have different columns; keep those of one kind")
        splits[name] = _table(concat_tables(read), str(parts[0]))
    if "train" not in splits:
        raise UserError(f"'{folder}' has no train*.parquet; it holds {', '.join(p.name for p in tables)}")
    return splits


def _table(table: "Table", name: str) -> Split:
    """Read the hub's schema: a column of pictures {bytes, path}, and `label` where there are labels."""
    column = next((each for each in COLUMNS if each in table.column_names), None)
    if column is None or not re.search(r"bytes: (large_)?binary", str(table.schema.field(column).type)):
        raise UserError(
            f"'{name}' has no column of pictures (image or img, with their bytes); "
            f"its columns: {', '.join(table.column_names)}"
        )
    cells = (cell for chunk in table.column(column).chunks for cell in chunk.to_pylist())
    pixels = stack((f"{name}, row {row}", cell and cell["bytes"]) for row, cell in enumerate(cells))
    if "label" not in table.column_names:
        return pixels, np.full(len(pixels), -1)
    labels = table.column("label")
    if not str(labels.type).startswith(("int", "uint")) or labels.null_count:
        raise UserError(f"'{name}' has labels of type {labels.type}; they must be whole numbers from 0 on")
    return pixels, labels.to_numpy().astype(np.int64)


def _pictures(folder: Path, pictures: list[Path]) -> Found:
    """Read pictures; folders `train`, `valid` and `test` are splits, the folders of each split its labels.

    Labels are numbered in the order of their names, of numbers where all names are.
    """
    parts = {path: path.relative_to(folder).parts[:-1] for path in pictures}
    split_of = {alias: name for name, aliases in FOLDER_NAMES.items() for alias in aliases}
    tops = {path: split_of.get(inside[0].lower()) if inside else None for path, inside in parts.items()}
    split_names = set(tops.values()) - {None}
    divided = None not in tops.values()
    if not divided and "train" in split_names and len(split_names) > 1:
        stray = next(path for path in pictures if tops[path] is None)
        raise UserError(
            f"'{folder}' has folders of splits ({', '.join(sorted(filter(None, split_names)))}), and "
            f"'{stray}' is in none of them; move it into one, or away"
        )
    names = {path: (tops[path] or "train") if divided else "train" for path in pictures}
    kinds = {path: "/".join(inside[1:] if divided else inside) for path, inside in parts.items()}
    classes = sorted(set(kinds.values()))
    if all(kind.isdecimal() for kind in classes):
        classes.sort(key=int)
    labels = {kind: -1 if classes == [""] else at for at, kind in enumerate(classes)}
    splits = {}
    for name in sorted(set(names.values())):
        chosen = [path for path in pictures if names[path] == name]
        pixels = stack((str(path), path.read_bytes()) for path in chosen)
        splits[name] = pixels, np.array([labels[kinds[path]] for path in chosen], np.int64)
    if "train" not in splits:
        raise UserError(f"'{folder}' has pictures to test on but none in a folder 'train'")
    return Found(splits, [] if classes == [""] else classes)


def stack(encoded: Iterable[tuple[str, bytes | None]]) -> np.ndarray:
    """Decode pictures (name, bytes) of one size; (N, C, H, W), grey where all of them are."""
    pixels: list[np.ndarray] = []
    first = ""
    for name, content in encoded:
        picture = _decoded(name, content)
        first = first or name
        if pixels and picture.shape[1:] != pixels[0].shape[1:]:
            sizes = [f"{each.shape[2]}×{each.shape[1]}" for each in (pixels[0], picture)]
            raise UserError(
                f"'{first}' is {sizes[0]} pixels and '{name}' {sizes[1]}; all images must be of one size"
            )
        pixels.append(picture)
    if not pixels:
        raise UserError("the data hold no images; give at least a few")
    channels = max(len(each) for each in pixels)
    return np.stack([np.broadcast_to(each, (channels, *each.shape[1:])) for each in pixels])


def _decoded(name: str, content: bytes | None) -> np.ndarray:
    """Return a picture as (C, H, W) uint8, C = 1 for grey and 3 for colour; transparency is left out."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content or b"")) as picture:
            if picture.mode in GREY:
                return np.asarray(picture.convert("L"))[None]
            if picture.mode in COLOUR:
                return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
            mode = picture.mode
    except UnidentifiedImageError as error:
        raise UserError(f"'{name}' is no picture by its content; mend it or take it away") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"'{name}' is no whole picture ({error}); mend it or take it away") from error
    raise UserError(f"'{name}' has pixels of mode {mode}; convert it to 8 bits of grey or colour")


def _same_shape(spec: str, splits: dict[str, Split]) -> None:
    """Give every split the channels of the one with most; UserError where their sizes differ."""
    channels = max(pixels.shape[1] for pixels, _ in splits.values())
    _, _, height, width = splits["train"][0].shape
    for name, (pixels, labels) in splits.items():
        if pixels.shape[2:] != (height, width):
            raise UserError(
                f"'{spec}' has training images of {width}×{height} pixels and {name} images of "
                f"{pixels.shape[3]}×{pixels.shape[2]}; all images must be of one size"
            )
        splits[name] = np.repeat(pixels, channels // pixels.shape[1], axis=1), labels
