"""Images and labels of NumPy's files, .npy and .npz, which are never unpickled: a pickle is a program.

An array is known by the words of its name, of the key in an .npz or of an .npy file: `x_train`, `test_images`
or `X` hold images, `y_train`, `val_labels` or `y` labels. What names no split is for training.
"""

import re
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from seqgen.core.errors import UserError
from seqgen.data.files import reading
from seqgen.image.data.folders import SPLIT_WORDS, split_of
from seqgen.image.data.pictures import (
    DEEP,
    MOST_BYTES,
    SIXTEEN_BITS,
    Facts,
    ReadOptions,
    check_bytes,
    is_grey,
    on_background,
    scale_images,
    sixteen_to_8_bits,
)

SUFFIXES = (".npy", ".npz")
IMAGE_WORDS = frozenset({"x", "image", "images", "img", "imgs", "data", "pixels", "arr"})
LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets"})
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""The reader of what stands before the values, by the version of the format."""
DAMAGED = (ValueError, TypeError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile)
"""What damaged names, heads and values lead to: a head is an expression of Python, of literals alone."""
ALLOWED = "(N, H, W) or (N, H, W, C) with 1, 3 or 4 channels"


def read_arrays(
    paths: list[Path], options: ReadOptions, facts: Facts
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the images (N, C, H, W) uint8 and the labels (N,) of each split; labels are -1 where none are.

    Raises:
        UserError: an array that is no image or no label, two of one kind, or none of images for training.
    """
    images: dict[str, tuple[str, np.ndarray]] = {}
    labels: dict[str, tuple[str, np.ndarray]] = {}
    names = []
    for path in paths:
        for name, key, array in _arrays(path):
            names.append(name)
            kind = _kind(key, options.label_column, alone=path.suffix == ".npy")
            if kind is None:
                continue
            found = images if kind == "images" else labels
            split = split_of(key) or split_of(path.stem) or "train"
            if split in found:
                raise UserError(f"'{found[split][0]}' and '{name}' are both {kind} to {split}; keep one")
            found[split] = name, array
    if "train" not in images:
        raise UserError(
            f"no images to train on among the arrays {', '.join(names)}; call them x and their labels y, or "
            "x_train and y_train beside x_test and y_test"
        )
    if options.label_column is not None and not labels:
        raise UserError(
            f"no array '{options.label_column}' for --label-column; the arrays are {', '.join(names)}"
        )
    pixels = _to_8_bits(images, options, facts)
    return {split: (each, _labels_of(split, images, labels)) for split, each in pixels.items()}


def _arrays(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the arrays of a file: name for messages, key, values."""
    with reading(str(path)):
        if path.suffix == ".npy":
            with path.open("rb") as file:
                yield str(path), path.stem, _read_array(file, str(path), path.stat().st_size)
            return
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    key, name = info.filename.removesuffix(".npy"), f"{path}, {info.filename}"
                    with archive.open(info) as member:
                        yield name, key, _read_array(member, name, info.file_size)
        except UserError:
            raise
        except (*DAMAGED, NotImplementedError, RuntimeError) as error:
            raise UserError(f"'{path}' is not a complete .npz file ({error}); write it again") from error


def _read_array(file: IO[bytes], name: str, size: int) -> np.ndarray:
    """Read an array of numbers or words of at most `size` bytes; nothing is unpickled."""
    try:
        version = npy.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"format {version}")
        with warnings.catch_warnings(action="ignore"):  # of a head that Python 2 wrote
            shape, is_fortran, kind = HEADERS[version](file)
        count = int(np.prod([int(each) for each in shape], dtype=object))
        if kind.hasobject:
            raise UserError(f"'{name}' holds Python objects, which are never loaded; save numbers or words")
        if not 0 <= count * kind.itemsize <= min(size, MOST_BYTES):
            raise UserError(f"'{name}' is not complete: it says {shape} values of {kind}; write it again")
        content = file.read(count * kind.itemsize)
        if len(content) != count * kind.itemsize:
            raise UserError(f"'{name}' is not complete: it says {shape} values of {kind}; write it again")
    except UserError:
        raise
    except (*DAMAGED, EOFError, OverflowError, zlib.error) as error:
        raise UserError(f"'{name}' is not a NumPy array ({error}); write it by numpy.save") from error
    values = np.frombuffer(content, kind)
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)


def _kind(key: str, label_column: str | None, *, alone: bool) -> str | None:
    """Return what an array holds by its name, `images` or `labels`; None where it is neither.

    alone: whether it is a file of its own, which holds images whatever its name.
    """
    words = set(re.split(r"[^a-z]+", key.lower()))
    without_split = "_".join(word for word in key.split("_") if word.lower() not in SPLIT_WORDS)
    if label_column in (key, without_split) or (label_column is None and words & LABEL_WORDS):
        return "labels"
    return "images" if words & IMAGE_WORDS or (alone and not words & LABEL_WORDS) else None


def _to_8_bits(
    images: dict[str, tuple[str, np.ndarray]], options: ReadOptions, facts: Facts
) -> dict[str, np.ndarray]:
    """Return images as (N, C, H, W) uint8, all splits by one scale."""
    highest = max(_range(name, array)[1] for name, array in images.values())
    is_unit, is_float = highest <= 1, any(array.dtype.kind == "f" for _, array in images.values())
    if highest > (255 if is_float else SIXTEEN_BITS):
        raise UserError(
            f"the images have numbers up to {highest:g}; give bytes, whole numbers up to {SIXTEEN_BITS:,}, "
            "or float numbers from 0 to 1 or to 255"
        )
    converted = {}
    for split, (name, array) in images.items():
        check_bytes(array.size, name)
        if is_unit:
            pixels = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
        elif highest > 255:
            pixels = sixteen_to_8_bits(array)
        else:
            pixels = (np.rint(array) if is_float else array).astype(np.uint8)
        if is_float or highest > 255:
            facts.say(DEEP, len(array))
        converted[split] = scale_images(_channels_first(name, pixels, options.below), options.size)
    if all(is_grey(pixels) for pixels in converted.values()):
        return {split: pixels[:, :1].copy() for split, pixels in converted.items()}
    return converted


def _range(name: str, array: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest number of an array; UserError where it does not hold images."""
    if array.ndim not in (3, 4) or array.dtype.kind not in "buif" or not array.size:
        raise UserError(f"'{name}' is {array.dtype} of shape {array.shape}; images are numbers {ALLOWED}")
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high:  # NaN is in no order
        raise UserError(
            f"'{name}' has numbers from {low:g} to {high:g}; give 0 for black and 1 or 255 for white"
        )
    return low, high


def _channels_first(name: str, pixels: np.ndarray, background: str) -> np.ndarray:
    """Return (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W) with C = 1 or 3."""
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.shape[3] in (1, 3, 4):
        planes = pixels.transpose(0, 3, 1, 2)
    elif pixels.shape[1] in (1, 3, 4):
        planes = pixels
    else:
        raise UserError(f"'{name}' has the shape {pixels.shape}; images are {ALLOWED}")
    if planes.shape[1] == 4:
        planes = on_background(planes[:, :3], planes[:, 3:], background)
    return np.ascontiguousarray(planes)


def _labels_of(
    split: str, images: dict[str, tuple[str, np.ndarray]], labels: dict[str, tuple[str, np.ndarray]]
) -> np.ndarray:
    """Return the labels of a split's images, whole numbers or words; -1 where it has none."""
    image_name, array = images[split]
    if split not in labels:
        return np.full(len(array), -1)
    name, values = labels[split]
    if values.shape not in ((len(array),), (len(array), 1)):
        raise UserError(
            f"'{name}' has the shape {values.shape}, and '{image_name}' {len(array)} images; label each"
        )
    values = values.reshape(-1)
    if values.dtype.kind in "US":
        return values.astype(str)
    if values.dtype.kind not in "buif" or not np.array_equal(values, np.rint(values.astype(float))):
        raise UserError(f"'{name}' has labels of type {values.dtype}; give whole numbers or words")
    return values.astype(np.int64)
