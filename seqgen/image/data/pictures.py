"""One encoded picture → 8-bit pixels: orientation, transparency, 16 bits and float, palettes, size.

C channels, H × W pixels. What was done to pictures, and their user should know, is counted in `Facts`.
"""

import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from seqgen.core.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES, MOST_PIXELS = 1 << 31, 1 << 24
"""Bytes of the pixels of a split, and pixels of one image: a file of a few kB can stand for any number."""
MOST_RESIZED = 1 << 26
"""Pixels of one image that is resized, of a camera of 67 megapixels: only one of them is held at a time."""
LARGEST_SIZE = 1 << 12
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""What the content of a picture may be, whatever its name: of others Pillow runs programs (Ghostscript)."""
BACKGROUNDS = {"white": 255, "black": 0}
"""Colours below transparent pixels, and the value of their channels."""
SIXTEEN_BITS = 65_535
ORIENTATION = 0x0112
"""The EXIF tag of how a camera was held."""
TRANSPOSED = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""How pixels become upright by the value of that tag, in Pillow's words (EXIF 2.32, 4.6.4)."""
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of a bad picture is an error here


@dataclass(frozen=True)
class ReadOptions:
    """How images are read, beside where they are."""

    size: int | None = None
    """height and width: the largest square in the middle is cropped and scaled to it; none: as they are"""
    label_column: str | None = None
    """the column of labels of Parquet files, or the array of labels of NumPy's; none: by its usual names"""
    background: str | None = None
    """the colour below transparent pixels, white or black; none: white"""

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= LARGEST_SIZE:
            raise UserError(f"size {self.size} is out of range: give 1 to {LARGEST_SIZE:,} pixels, as in 64")
        if self.background not in (None, *BACKGROUNDS):
            raise UserError(
                f"no background '{self.background}'; transparent pixels are laid on white or on black"
            )

    @property
    def below(self) -> str:
        """The colour below transparent pixels."""
        return self.background or "white"


@dataclass
class Facts:
    """What was done to the images that a user should know; a fact holds `{}` for how many it is true of."""

    counts: Counter[str] = field(default_factory=Counter)

    def say(self, fact: str, times: int = 1) -> None:
        """Count a fact."""
        self.counts[fact] += times

    def lines(self) -> tuple[str, ...]:
        """Return the facts with their numbers."""
        return tuple(fact.format(f"{times:,}") for fact, times in self.counts.items())


SEVERAL = "only the first frame of {} pictures that have several"
UPRIGHT = "{} turned upright by their EXIF orientation"
TRANSPARENT = "{} with transparency, laid on %s"
HIDDEN = "{} of these are nothing but %s then, --background %s shows more"
DEEP = "{} of 16 bits or float, scaled to 8 bits"


def decode_pictures(
    encoded: Iterable[tuple[str, bytes | None]],
    options: ReadOptions | None = None,
    facts: Facts | None = None,
) -> np.ndarray:
    """Decode pictures (name, bytes) of one size, or scaled to one; (N, C, H, W), grey where all of them are.

    Raises:
        UserError: a picture that cannot be read, several sizes and none to scale to, or no picture.
    """
    options, facts = options or ReadOptions(), facts or Facts()
    pixels: list[np.ndarray] = []
    first = ""
    for name, content in encoded:
        picture = decode_picture(name, content, options, facts)
        first = first or name
        if pixels and picture.shape[1:] != pixels[0].shape[1:]:
            sizes = [f"{each.shape[2]}×{each.shape[1]}" for each in (pixels[0], picture)]
            raise UserError(
                f"'{first}' is {sizes[0]} pixels and '{name}' {sizes[1]}; all images must be of one size, so "
                "give --size N, as in --size 64, to crop and scale each to N×N"
            )
        pixels.append(picture)
        check_bytes(len(pixels) * picture.size, first)
    if not pixels:
        raise UserError("the data hold no images; give at least a few")
    channels = max(len(each) for each in pixels)
    return np.stack([np.broadcast_to(each, (channels, *each.shape[1:])) for each in pixels])


def decode_picture(name: str, content: bytes | None, options: ReadOptions, facts: Facts) -> np.ndarray:
    """Return a picture as (C, H, W) uint8: C is 1 where it is grey, however it was saved, else 3."""
    from PIL import Image, UnidentifiedImageError

    most = MOST_PIXELS if options.size is None else MOST_RESIZED
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content or b""), formats=FORMATS) as picture,
        ):
            if math.prod(picture.size) > most:
                raise Image.DecompressionBombError
            if getattr(picture, "is_animated", False) and picture.format != "MPO":  # that is a photograph
                facts.say(SEVERAL)
            picture.load()
            upright = _upright(_to_8_bits(name, picture, options, facts), picture, facts)
            return _channels(np.asarray(_scaled(upright, options.size)))
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"'{name}' is not a picture by its content; repair it or remove it") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"'{name}' has more than {most:,} pixels; scale it down or remove it") from error
    except Exception as error:  # a decoder raises whatever damaged bytes lead it to
        raise UserError(f"'{name}' is not a complete picture ({error}); repair it or remove it") from error


def scale_images(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """Crop the square in the middle of each image and scale it; (N, C, H, W) → (N, C, size, size) uint8."""
    from PIL import Image

    if size is None or pixels.shape[2:] == (size, size):
        return pixels
    check_bytes(len(pixels) * pixels.shape[1] * size**2, "the data")
    scaled = np.empty((*pixels.shape[:2], size, size), np.uint8)
    for image, target in zip(pixels, scaled, strict=True):
        for channel, plane in zip(image, target, strict=True):
            plane[:] = np.asarray(_scaled(Image.fromarray(channel), size))
    return scaled


def on_background(colour: np.ndarray, alpha: np.ndarray, background: str) -> np.ndarray:
    """Lay pixels on a background; uint8 (…, C) and (…, 1) → (…, C), rounded."""
    below, weight = BACKGROUNDS[background], alpha.astype(np.uint32)
    return ((colour * weight + below * (255 - weight) + 127) // 255).astype(np.uint8)


def sixteen_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale 0 … 65,535 to 0 … 255, rounded; any shape."""
    return ((values.astype(np.uint32) * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether all channels of images (…, C, H, W) are equal."""
    return all(np.array_equal(pixels[..., 0, :, :], pixels[..., c, :, :]) for c in range(1, pixels.shape[-3]))


def check_bytes(size: int, name: str) -> None:
    """Raise UserError for more pixels than are held in memory."""
    if size > MOST_BYTES:
        raise UserError(
            f"'{name}' holds {size:,} bytes of pixels; at most {MOST_BYTES:,} are read; give fewer"
        )


def _to_8_bits(name: str, picture: "Image", options: ReadOptions, facts: Facts) -> "Image":
    """Return a picture of 8 bits a channel, grey (L) or in colour (RGB), without transparency."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        facts.say(DEEP)
        return Image.fromarray(_deep_to_8_bits(name, np.asarray(picture)))
    if picture.mode in WITH_ALPHA or "transparency" in picture.info:
        pixels = np.asarray(picture.convert("RGBA"))
        colour, alpha = pixels[..., :3], pixels[..., 3:]
        laid = on_background(colour, alpha, options.below)
        if (alpha < 255).any():
            facts.say(TRANSPARENT % options.below)
            if (laid == BACKGROUNDS[options.below]).all() and (alpha > 0).any():
                other = next(name for name in BACKGROUNDS if name != options.below)
                facts.say(HIDDEN % (options.below, other))
        return Image.fromarray(laid)
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _deep_to_8_bits(name: str, values: np.ndarray) -> np.ndarray:
    """Scale pixels of 16 bits, or float from 0 to 1, to 8 bits; UserError where they are out of range."""
    low, high = values.min(), values.max()
    most = 1.0 if values.dtype.kind == "f" else SIXTEEN_BITS
    if not (low >= 0 and high <= most):  # NaN is in no range, either
        raise UserError(
            f"'{name}' has pixels from {low:g} to {high:g}; they must be from 0 to {most:g}, so scale them"
        )
    if most == 1.0:
        return np.rint(values * 255).astype(np.uint8)
    return sixteen_to_8_bits(values)


def _upright(picture: "Image", source: "Image", facts: Facts) -> "Image":
    """Turn a picture as the EXIF orientation of its source says."""
    from PIL import Image

    way = TRANSPOSED.get(source.getexif().get(ORIENTATION, 1))
    if way is None:
        return picture
    facts.say(UPRIGHT)
    return picture.transpose(Image.Transpose[way])


def _scaled(picture: "Image", size: int | None) -> "Image":
    """Crop the square in the middle of a picture and scale it, bicubic with antialiasing."""
    from PIL import Image

    if size is None or picture.size == (size, size):
        return picture
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BICUBIC)


def _channels(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) or (H, W, 3) as (C, H, W), with one channel where all are equal."""
    if pixels.ndim == 2:
        return pixels[None]
    planes = pixels.transpose(2, 0, 1)
    return planes[:1].copy() if is_grey(planes) else planes  # a view would hold all three
