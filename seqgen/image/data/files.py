"""Where images come from: scikit-learn's digits, files (NumPy, IDX, Parquet, pictures), the hub."""

import gzip
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqgen.core.errors import UserError
from seqgen.data import huggingface
from seqgen.data.files import reading
from seqgen.image.data import arrays, parquet_images
from seqgen.image.data.folders import PICTURES, files_in, lay_out
from seqgen.image.data.pictures import Facts, ReadOptions, check_bytes, decode_pictures, scale_images

if TYPE_CHECKING:
    pass

Split = tuple[np.ndarray, np.ndarray]
"""Pixels (N, C, H, W) uint8 and labels (N,) int64, -1 where there is none."""

HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Names of datasets of the hub, read through the `datasets` library."""
MOST_CLASSES = 10_000
"""Bound of the number of labels: more are no labels but measurements, or a mistake."""
IDX_BYTES = 0x08
"""The type code of unsigned bytes in an IDX header."""
IDX_BLOCK = 1 << 22
"""Bytes of an IDX file that are read at a time."""
IDX_NAMES = {"train": ("train",), "test": ("t10k", "test")}


@dataclass(frozen=True)
class ImageSource:
    """The images of a name or a folder."""

    splits: dict[str, Split]
    """`train`, perhaps `valid` and `test`"""
    names: list[str] = field(default_factory=list)
    """of the labels 0, 1, 2, …, where they have names"""
    facts: tuple[str, ...] = ()
    """what was done to them, for the user to know"""


def read(spec: str, options: ReadOptions | None = None) -> ImageSource:
    """Return the images of a name, a file or a folder; labels are numbered 0, 1, 2, … and keep their names.

    Raises:
        UserError: nothing there, nothing readable in it, corrupt files, or images of several sizes and none
            to scale them to.
    """
    options, facts = options or ReadOptions(), Facts()
    names: list[str] = []
    place = Path(spec)
    if spec == "digits":
        splits = {"train": _read_digits(options)}
    elif spec and place.is_dir():
        splits, names = _read_folder(place, options, facts)
    elif place.suffix.lower() in arrays.SUFFIXES and place.is_file():
        splits = arrays.read_arrays([place], options, facts)
    elif spec in HUB:
        splits = _read_hub(spec, options, facts)
    else:
        known = ", ".join(["digits", *HUB])
        raise UserError(
            f"no images at '{spec}'; give a folder of images, an .npz or .npy file, or one of: {known}"
        )
    _same_shape(spec, splits)
    if not names:
        splits, names = _number_labels(spec, splits)
    return ImageSource(splits, names, facts.lines())


def _read_hub(spec: str, options: ReadOptions, facts: Facts) -> dict[str, Split]:
    tables = huggingface.load(HUB[spec])
    return {
        name: parquet_images.read_table(split, f"{spec}, {name}", options, facts)
        for name, split in tables.items()
    }


def _read_digits(options: ReadOptions) -> Split:
    from sklearn.datasets import load_digits

    _no_label_column("digits", options)
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return scale_images(pixels, options.size), digits.target.astype(np.int64)


def _no_label_column(spec: str, options: ReadOptions) -> None:
    """Raise UserError where a column of labels is named although there are no columns."""
    if options.label_column is not None:
        raise UserError(
            f"'{spec}' has no columns, of which --label-column {options.label_column} names one; leave it out"
        )


def _read_folder(folder: Path, options: ReadOptions, facts: Facts) -> tuple[dict[str, Split], list[str]]:
    inside = files_in(folder)
    tables = [path for path in inside if path.suffix == ".parquet"]
    saved = [path for path in inside if path.suffix.lower() in arrays.SUFFIXES]
    pictures = [path for path in inside if path.suffix.lower() in PICTURES]
    if any("images" in path.name and "idx3" in path.name for path in inside):
        _no_label_column(str(folder), options)
        return _read_idx_folder(folder, inside, options), []
    if tables:
        return parquet_images.read_folder(folder, tables, options, facts), []
    if saved:
        return arrays.read_arrays(saved, options, facts), []
    if pictures:
        _no_label_column(str(folder), options)
        return _read_picture_folder(folder, pictures, options, facts)
    raise UserError(
        f"'{folder}' holds no images; looked for IDX files (train-images-idx3-ubyte, also .gz), "
        f"train*.parquet, .npz, .npy, and pictures ({', '.join(sorted(PICTURES))})"
    )


def _read_idx_folder(folder: Path, inside: list[Path], options: ReadOptions) -> dict[str, Split]:
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
        splits[name] = scale_images(pixels, options.size), numbers.astype(np.int64)
    if "train" not in splits:
        raise UserError(f"'{folder}' has no training images; IDX files are called train-images-idx3-ubyte")
    return splits


def _only_file(folder: Path, inside: list[Path], stems: list[str]) -> Path | None:
    """Return the file with one of the stems in its name, or None; UserError where there are two.

    Of a file and its .gz, which torchvision leaves beside what it has unpacked, the file is taken.
    """
    matches = [path for path in inside if any(stem in path.name for stem in stems)]
    unpacked = {path for path in matches if path.suffix != ".gz"}
    matches = [path for path in matches if path.suffix != ".gz" or path.with_suffix("") not in unpacked]
    if len(matches) > 1:
        first, second, *_ = matches
        raise UserError(f"'{folder}' has both '{first}' and '{second}'; give the folder of one of them")
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
        check_bytes(expected, str(path))
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


def _read_picture_folder(
    folder: Path, pictures: list[Path], options: ReadOptions, facts: Facts
) -> tuple[dict[str, Split], list[str]]:
    """Read pictures; folders `train`, `valid` and `test` are splits, the folders of each split its labels."""
    layout = lay_out(folder, pictures, facts)
    numbers = {name: number for number, name in enumerate(layout.names)}
    splits = {}
    for split, chosen in layout.splits.items():
        encoded = ((str(path), path.read_bytes()) for path, _ in chosen)
        labels = [-1 if name is None else numbers[name] for _, name in chosen]
        splits[split] = decode_pictures(encoded, options, facts), np.array(labels, np.int64)
    return splits, layout.names


def _number_labels(spec: str, splits: dict[str, Split]) -> tuple[dict[str, Split], list[str]]:
    """Number labels 0, 1, 2, … in order, -1 where there is none, and return their names.

    Names are none where the labels are already so: EMNIST counts letters from 1, others leave numbers out.
    """
    known = [labels[labels >= 0] if labels.dtype.kind == "i" else labels for _, labels in splits.values()]
    have_words = any(labels.dtype.kind == "U" for labels in known)
    lowest = min((int(labels.min()) for _, labels in splits.values() if labels.dtype.kind == "i"), default=-1)
    present = np.unique(
        np.concatenate([labels for labels in known if len(labels)] or [np.zeros(0, np.int64)])
    )
    if lowest < -1 or len(present) > MOST_CLASSES:
        raise UserError(
            f"'{spec}' has {len(present):,} different labels from {lowest} on; a label is a number from 0 on "
            f"or a word, and there are at most {MOST_CLASSES:,}"
        )
    if not have_words and np.array_equal(present, np.arange(len(present))):
        return splits, []
    numbered = {}
    for name, (pixels, labels) in splits.items():
        is_known = labels >= 0 if labels.dtype.kind == "i" else np.ones(len(labels), bool)
        places = np.searchsorted(present, labels.astype(present.dtype))
        numbered[name] = pixels, np.where(is_known, places, -1).astype(np.int64)
    return numbered, [str(each) for each in present]


def _same_shape(spec: str, splits: dict[str, Split]) -> None:
    """Give every split the channels of the one with most; UserError where their sizes differ."""
    channels = max(pixels.shape[1] for pixels, _ in splits.values())
    _, _, height, width = splits["train"][0].shape
    for name, (pixels, labels) in splits.items():
        if pixels.shape[2:] != (height, width):
            raise UserError(
                f"'{spec}' has training images of {width}×{height} pixels and {name} images of "
                f"{pixels.shape[3]}×{pixels.shape[2]}; all images must be of one size, so give --size N, as "
                "in --size 64, to crop and scale each to N×N"
            )
        splits[name] = np.repeat(pixels, channels // pixels.shape[1], axis=1), labels
