"""Where images come from: scikit-learn's digits, IDX and Parquet files, folders of pictures, the hub."""

import gzip
import io
import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.core.errors import UserError
from seqgen.data import huggingface
from seqgen.data.files import reading
from seqgen.data.tables import check_pages

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

Split = tuple[np.ndarray, np.ndarray]
"""Pixels (N, C, H, W) uint8 and labels (N,) int64, -1 where there is none."""

HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Names of datasets of the hub, read through the `datasets` library."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MOST_BYTES, MOST_PIXELS = 1 << 31, 1 << 24
"""Bytes of the pixels of a split, and pixels of one image: a file of a few kB can stand for any number."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""What the content of a picture may be, whatever its name: of others Pillow runs programs (Ghostscript)."""
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of a bad picture is an error here
PARQUET_ROWS = 64
"""Rows of a Parquet file that are decoded at a time."""
IDX_BYTES = 0x08
"""The type code of unsigned bytes in an IDX header."""
IDX_BLOCK = 1 << 22
"""Bytes of an IDX file that are read at a time."""
IDX_NAMES = {"train": ("train",), "test": ("t10k", "test")}
FOLDER_NAMES = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
COLUMNS = ("image", "img")
"""Names of the column of pictures in the hub's datasets."""
GREY = frozenset({"1", "L", "LA"})
COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class ImageSource:
    """The images of a name or a folder."""

    splits: dict[str, Split]
    """`train`, perhaps `valid` and `test`"""
    names: list[str] = field(default_factory=list)
    """of the labels 0, 1, 2, …, where they have names"""


def read(spec: str) -> ImageSource:
    """Return the images of a name or a folder.

    Raises:
        UserError: no such folder, nothing readable in it, corrupt files, or images of several sizes.
    """
    if spec == "digits":
        return ImageSource({"train": _read_digits()})
    folder = Path(spec)
    if spec and folder.is_dir():
        source = _read_folder(folder)
    elif spec in HUB:
        tables = huggingface.load(HUB[spec])
        source = ImageSource(
            {name: _read_rows([_part(split, f"{spec}, {name}")]) for name, split in tables.items()}
        )
    else:
        names = ", ".join(["digits", *HUB])
        raise UserError(f"no images at '{spec}'; give a folder of images, or one of: {names}")
    _same_shape(spec, source.splits)
    return source


def _read_digits() -> Split:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return pixels, digits.target.astype(np.int64)


def files_in(folder: Path) -> list[Path]:
    """Return the files at any depth of a folder in order of their names, hidden ones left out."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures at any depth of a folder in order of their names."""
    return [path for path in files_in(folder) if path.suffix.lower() in PICTURES]


def _read_folder(folder: Path) -> ImageSource:
    inside = files_in(folder)
    if any("images" in path.name and "idx3" in path.name for path in inside):
        return ImageSource(_read_idx_folder(folder, inside))
    tables = [path for path in inside if path.suffix == ".parquet"]
    if tables:
        return ImageSource(_read_parquet_folder(folder, tables))
    pictures = pictures_in(folder)
    if pictures:
        return _read_picture_folder(folder, pictures)
    raise UserError(
        f"'{folder}' holds no images; looked for IDX files (train-images-idx3-ubyte, also .gz), "
        f"train*.parquet, and pictures ({', '.join(sorted(PICTURES))})"
    )


def _read_idx_folder(folder: Path, inside: list[Path]) -> dict[str, Split]:
    splits = {}
    for name, stems in IDX_NAMES.items():
        images = _only_file(folder, inside, [f"{stem}-images" for stem in stems])
        labels = _only_file(folder, inside, [f"{stem}-labels" for stem in stems])
        if images is None:
            continue
        pixels = _read_idx_file(images, dimensions=3)[:, None]
        numbers = np.full(len(pixels), -1) if labels is None else _read_idx_file(labels, dimensions=1)
        if len(numbers) != len(pixels):
            raise UserError(f"'{images}' has {len(pixels)} images and '{labels}' {len(numbers)} labels")
        splits[name] = pixels, numbers.astype(np.int64)
    if "train" not in splits:
        raise UserError(f"'{folder}' has no training images; IDX files are called train-images-idx3-ubyte")
    return splits


def _only_file(folder: Path, inside: list[Path], stems: list[str]) -> Path | None:
    """Return the file with one of the stems in its name, or None; UserError where there are two."""
    matches = [path for path in inside if any(stem in path.name for stem in stems)]
    if len(matches) > 1:
        first, second, *_ = matches
        raise UserError(f"'{folder}' has both '{first.name}' and '{second.name}'; keep one of them")
    return matches[0] if matches else None


def _read_idx_file(path: Path, *, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    Its header is two zeros, the type, the number of dimensions, and their sizes as big-endian uint32.
    """
    with reading(str(path)), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
        if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, IDX_BYTES, dimensions]):
            raise UserError(
                f"'{path}' is not an IDX file of bytes in {dimensions} dimensions; download it again"
            )
        sizes = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
        expected = math.prod(sizes)
        _check_bytes(expected, str(path))
        content = _read_up_to(expected + 1, file)
    if len(content) != expected:
        found = f"{len(content):,}" if len(content) < expected else "more"
        raise UserError(f"'{path}' holds {found} bytes of values, not {expected:,}; download it again")
    if not expected:
        raise UserError(f"'{path}' is empty: its size is {sizes}; give at least a few images")
    return np.frombuffer(content, np.uint8).reshape(sizes).copy()


def _read_up_to(size: int, file: gzip.GzipFile | io.BufferedReader) -> bytes:
    """Read at most so many bytes, by blocks: a reader takes the memory of all that it is asked for."""
    parts: list[bytes] = []
    while size and (part := file.read(min(size, IDX_BLOCK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _check_bytes(size: int, name: str) -> None:
    """Raise UserError for more pixels than are held in memory."""
    if size > MOST_BYTES:
        raise UserError(
            f"'{name}' holds {size:,} bytes of pixels; at most {MOST_BYTES:,} are read; give fewer"
        )


def _read_parquet_folder(folder: Path, tables: list[Path]) -> dict[str, Split]:
    splits = {}
    for name, prefixes in FOLDER_NAMES.items():
        parts = [path for path in tables if path.name.startswith(prefixes)]
        if not parts:
            continue
        first, *others = [_schema(path) for path in parts]
        for path, schema in zip(parts[1:], others, strict=True):
            if schema != first:
                raise UserError(f"'{parts[0]}' and '{path}' have different columns; keep those of one kind")
        splits[name] = _read_rows((str(path), first, _batches(path)) for path in parts)
    if "train" not in splits:
        raise UserError(f"'{folder}' has no train*.parquet; it holds {', '.join(p.name for p in tables)}")
    return splits


def _part(split: Any, name: str) -> tuple[str, "Schema", Iterable["RecordBatch"]]:
    table = split.with_format("arrow")[:]
    return name, table.schema, table.to_batches()


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


def _batches(path: Path) -> Iterator["RecordBatch"]:
    """Yield a few rows at a time, as a few bytes of a file can stand for a large picture a million times."""
    from pyarrow import parquet

    with _reading_parquet(path):
        file = parquet.ParquetFile(path)
        check_pages(file.metadata, str(path), path.stat().st_size)
        columns = [name for name in (*COLUMNS, "label") if name in file.schema_arrow.names]
        batches = file.iter_batches(PARQUET_ROWS, columns=columns)
    while True:
        with _reading_parquet(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _read_rows(parts: Iterable[tuple[str, "Schema", Iterable["RecordBatch"]]]) -> Split:
    """Read the hub's schema: a column of pictures {bytes, path}, and `label` where there are labels.

    parts: names for messages, their columns and rows.
    """
    labels: list[np.ndarray] = []
    cells = (cell for name, schema, batches in parts for cell in _cells(name, schema, batches, labels))
    pixels = decode_pictures(cells)
    return pixels, np.concatenate(labels) if labels else np.full(len(pixels), -1)


def _cells(
    name: str, schema: "Schema", batches: Iterable["RecordBatch"], labels: list[np.ndarray]
) -> Iterator[tuple[str, bytes | None]]:
    """Yield pictures with their places, and add the labels of the rows, where they have them."""
    from pyarrow import compute

    column = next((each for each in COLUMNS if each in schema.names), None)
    if column is None or not re.search(r"bytes: (large_)?binary", str(schema.field(column).type)):
        raise UserError(
            f"'{name}' has no column of pictures (image or img, with their bytes); "
            f"its columns: {', '.join(schema.names)}"
        )
    kind = str(schema.field("label").type) if "label" in schema.names else None
    row = 0
    for batch in batches:
        if kind is not None:
            numbers = batch.column("label")
            if not kind.startswith(("int", "uint")) or numbers.null_count:
                raise UserError(f"'{name}' has labels of type {kind}; they must be whole numbers from 0 on")
            labels.append(numbers.to_numpy(zero_copy_only=False).astype(np.int64))
        for content in compute.struct_field(batch.column(column), "bytes").to_pylist():
            yield f"{name}, row {row}", content
            row += 1


def _read_picture_folder(folder: Path, pictures: list[Path]) -> ImageSource:
    """Read pictures; folders `train`, `valid` and `test` are splits, the folders of each split its labels."""
    splits_of, label_names_of = _splits_and_label_names(folder, pictures)
    names = sorted(set(label_names_of.values()))
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    labels = {name: -1 if names == [""] else number for number, name in enumerate(names)}
    splits = {}
    for split in sorted(set(splits_of.values())):
        chosen = [path for path in pictures if splits_of[path] == split]
        pixels = decode_pictures((str(path), path.read_bytes()) for path in chosen)
        splits[split] = pixels, np.array([labels[label_names_of[path]] for path in chosen], np.int64)
    if "train" not in splits:
        raise UserError(f"'{folder}' has pictures to test on but none in a folder 'train'")
    return ImageSource(splits, [] if names == [""] else names)


def _splits_and_label_names(folder: Path, pictures: list[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return the split of each picture, and the name of its label: the path of its folder in the split.

    Where a picture is in no folder of a split, all are for training, and every folder is a label.

    UserError where it stands beside the folder `train` and that of another split.
    """
    split_of_folder = {alias: name for name, aliases in FOLDER_NAMES.items() for alias in aliases}
    folders = {path: path.relative_to(folder).parts[:-1] for path in pictures}
    splits = {
        path: split_of_folder.get(parts[0].lower()) if parts else None for path, parts in folders.items()
    }
    names = sorted({split for split in splits.values() if split})
    outside = [path for path in pictures if splits[path] is None]
    if outside and "train" in names and len(names) > 1:
        raise UserError(
            f"'{folder}' has folders of splits ({', '.join(names)}), and '{outside[0]}' is in none of them; "
            "move it into one, or away"
        )
    if outside:
        return dict.fromkeys(pictures, "train"), {path: "/".join(parts) for path, parts in folders.items()}
    return (
        {path: split for path, split in splits.items() if split},
        {path: "/".join(parts[1:]) for path, parts in folders.items()},
    )


def decode_pictures(encoded: Iterable[tuple[str, bytes | None]]) -> np.ndarray:
    """Decode pictures (name, bytes) of one size; (N, C, H, W), grey where all of them are."""
    pixels: list[np.ndarray] = []
    first = ""
    for name, content in encoded:
        picture = _decode_picture(name, content)
        first = first or name
        if pixels and picture.shape[1:] != pixels[0].shape[1:]:
            sizes = [f"{each.shape[2]}×{each.shape[1]}" for each in (pixels[0], picture)]
            raise UserError(
                f"'{first}' is {sizes[0]} pixels and '{name}' {sizes[1]}; all images must be of one size"
            )
        pixels.append(picture)
        _check_bytes(len(pixels) * picture.size, first)
    if not pixels:
        raise UserError("the data hold no images; give at least a few")
    channels = max(len(each) for each in pixels)
    return np.stack([np.broadcast_to(each, (channels, *each.shape[1:])) for each in pixels])


def _decode_picture(name: str, content: bytes | None) -> np.ndarray:
    """Return a picture as (C, H, W) uint8, C = 1 for grey and 3 for colour; transparency is left out."""
    from PIL import Image, UnidentifiedImageError

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content or b""), formats=FORMATS) as picture,
        ):
            if math.prod(picture.size) > MOST_PIXELS:
                raise Image.DecompressionBombError
            if picture.mode in GREY:
                return np.asarray(picture.convert("L"))[None]
            if picture.mode in COLOUR:
                return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
            mode = picture.mode
    except UnidentifiedImageError as error:
        raise UserError(f"'{name}' is not a picture by its content; repair it or remove it") from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"'{name}' has more than {MOST_PIXELS:,} pixels; scale it down or remove it"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder raises whatever damaged bytes lead it to
        raise UserError(f"'{name}' is not a complete picture ({error}); repair it or remove it") from error
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
