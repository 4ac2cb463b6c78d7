"""Images to learn from: splits of uint8 pixels with labels, and seeded batches of them.

B batch, N images, C channels, H × W pixels.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.errors import UserError, did_you_mean
from seqgen.data.batches import Stream
from seqgen.image.data import files
from seqgen.image.data.pictures import ReadOptions

VALID_FRACTION = 0.05
"""Fraction of the training images that are held out for validation, at least one."""
TEST_FRACTION = 0.2
"""Fraction held out for testing where the data have no test images: they are few then."""
MEMORY_FRACTION = 0.5
"""Fraction of a GPU's free memory that the training images may take."""
COMMON_PIXELS = 3 * 32 * 32
"""Pixels of the largest images of which as many are held at a time as the code says: bounds memory."""
BINARISE = ("none", "fixed", "dynamic")


class Batch(NamedTuple):
    """Images and their labels."""

    images: Tensor
    """(B, C, H, W) float32 in [0, 1]"""
    labels: Tensor
    """(B,) int64; -1 where there is none"""

    def divides_by(self, parts: int) -> bool:
        """Whether it can be divided into so many parts of equal size."""
        return not len(self.images) % parts

    def shard(self) -> "Batch":
        """Return this process's images of a batch that is divided (`seqgen.core.distributed`)."""
        return Batch(*(distributed.shard(part) for part in self))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device."""
        images, labels = (part.to(device, non_blocking=non_blocking) for part in self)
        return Batch(images, labels)


@dataclass(frozen=True)
class Images:
    """One split."""

    pixels: Tensor
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64, -1 where unlabelled"""

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor | slice) -> Batch:
        """Return the images of some rows, scaled to [0, 1]."""
        return Batch(self.pixels[rows].float().div_(255), self.labels[rows])

    def rows(self, rows: Tensor) -> "Images":
        """Return some of the images; (M,) int64 or (N,) bool."""
        return Images(self.pixels[rows], self.labels[rows])

    def only(self, labels: Iterable[int]) -> "Images":
        """Return the images of the given labels."""
        return self.rows(torch.isin(self.labels, torch.tensor(list(labels))))

    def without(self, labels: Iterable[int]) -> "Images":
        """Return the images of all labels but the given ones."""
        return self.rows(~torch.isin(self.labels, torch.tensor(list(labels))))

    def to(self, device: torch.device) -> "Images":
        """Return the split on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def binarised(self, rng: torch.Generator) -> "Images":
        """Return a Bernoulli draw of every pixel, 0 or 255."""
        # In chunks: the draws of all of MNIST at once would take 190 MB.
        chunks = [_bernoulli(chunk.float().div_(255), rng) for chunk in self.pixels.split(10_000)]
        return replace(self, pixels=torch.cat([chunk.mul_(255).byte() for chunk in chunks]))


@dataclass(frozen=True)
class ImageData:
    """What `open_images` returns."""

    name: str
    train: Images
    valid: Images
    test: Images
    classes: int
    """how many labels there are; 0 where images have none"""
    hash: str
    """SHA-256 of the pixels and labels as read"""
    binarise: str = "none"
    names: tuple[str, ...] = ()
    """of the labels 0, 1, 2, …: those of their folders, their words, or the numbers that they had"""
    facts: tuple[str, ...] = ()
    """what was done to the images as they were read, for the user to know"""
    left_out: tuple[int, ...] = ()
    """the labels that training and validation are without"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width


def open_images(
    spec: str,
    *,
    seed: int = 0,
    without: int | str | Sequence[int | str] | None = None,
    only: Sequence[int | str] = (),
    binarise: str = "none",
    options: ReadOptions | None = None,
) -> ImageData:
    """Open images by name or path, split off validation and test images where there are none, and binarise.

    Args:
        spec: `digits` (scikit-learn's 8×8 scans), a folder of IDX files, of the hub's Parquet files, of .npz
            or .npy files or of pictures, such a file of NumPy's, or `mnist`, `fashion-mnist`, `cifar10` of
            the hub; see `seqgen.image.data.files`.
        without: labels to leave out of training and validation, as anomaly detection needs it: the number of
            each, or its name where it has one.
        only: the labels to train on, in place of those to leave out.
        binarise: `none`; `fixed`, one Bernoulli draw of every pixel by the seed; `dynamic`, the same for
            validation and test, and for training a new draw at every reading.
        options: the size that images are scaled to, the column of labels, the colour below transparency.

    Raises:
        UserError: nothing to read, unreadable, images of several sizes, too few of them, no such label.
    """
    if binarise not in BINARISE:
        raise UserError(f"no binarisation '{binarise}'" + did_you_mean(binarise, BINARISE))
    source = files.read(spec, options)
    splits = {name: Images(*(torch.from_numpy(part) for part in raw)) for name, raw in source.splits.items()}
    digest = _hash_splits(splits)
    classes = len(source.names) or int(max(images.labels.max() for images in splits.values())) + 1
    names = tuple(source.names) or tuple(map(str, range(classes)))
    facts = (*source.facts, *_untrained_labels(splits, names))
    rng = torch.Generator().manual_seed(seed)
    missing = [name for name in ("valid", "test") if name not in splits]
    if len(splits["train"]) <= len(missing):
        raise UserError(
            f"'{spec}' has {len(splits['train'])} training images; give {len(missing) + 1} or more, for "
            f"{' and '.join(missing)} images are held out of them"
        )
    if "test" not in splits:
        splits["train"], splits["test"] = _hold_out(splits["train"], TEST_FRACTION, rng)
    if "valid" not in splits:
        splits["train"], splits["valid"] = _hold_out(splits["train"], VALID_FRACTION, rng)
    if left_out := _left_out(spec, splits["train"], without, only, names):
        splits |= {name: splits[name].without(left_out) for name in ("train", "valid")}
        if not len(splits["valid"]) and len(splits["train"]) > 1:  # a few images, all of that label
            splits["train"], splits["valid"] = _hold_out(splits["train"], VALID_FRACTION, rng)
    if binarise != "none":
        binarised = [name for name in splits if binarise == "fixed" or name != "train"]
        splits |= {name: splits[name].binarised(rng) for name in sorted(binarised)}
    return ImageData(
        spec,
        **splits,
        classes=classes,
        hash=digest,
        binarise=binarise,
        names=names,
        facts=facts,
        left_out=tuple(left_out),
    )


def label_of(label: int | str, names: Sequence[str]) -> int:
    """Return the number of a label given by name or number; UserError where there is no such label."""
    if str(label) in names:
        return names.index(str(label))
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    if not names:
        raise UserError(f"no label '{label}': the images have no labels")
    shown = names if len(names) <= 20 else [*names[:10], "…", names[-1]]
    raise UserError(f"no label '{label}'; the labels are {', '.join(shown)}")


def labels_of(given: int | str | Sequence[int | str] | None, names: Sequence[str]) -> list[int]:
    """Return the numbers of no label, one or several given by name or number, in order; each once."""
    if given is None:
        return []
    listed = [given] if isinstance(given, int | str) else given
    return sorted({label_of(label, names) for label in listed})


class ImageBatches(Stream, Iterator[Batch]):
    """An endless stream of batches, with the images in a new order every epoch.

    Batches are full: the last few images of an epoch, other ones in each epoch, are left out. The stream
    depends on the split, `batch_size` and `seed` alone; a position in it is one number, so a restored state
    continues with exactly the same batches. Images stay on `device` if they fit in half of its free memory.

    Args:
        binarise: draw every pixel again, Bernoulli, each time an image is read.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        seed: int,
        binarise: bool = False,
        device: torch.device | str = "cpu",
    ):
        if not len(images):
            raise ValueError("no images to make batches of")
        if batch_size < 1:
            raise ValueError(f"a batch size of {batch_size} is too small; give 1 or more")
        target = torch.device(device)
        self._images = images.to(target) if _fits_in_memory(images, target) else images
        self._batch_size = min(batch_size, len(images))
        self._seed, self._binarise = seed, binarise
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self._images) // self._batch_size

    def __next__(self) -> Batch:
        """Return the next batch."""
        epoch, at = divmod(self._step, len(self))
        if self._order[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
            self._order = epoch, torch.from_numpy(order).to(self._images.pixels.device)
        size = self._batch_size
        batch = self._images.batch(self._order[1][at * size : (at + 1) * size])
        if self._binarise:
            batch = batch._replace(images=_bernoulli(batch.images, self._step_rng()))
        self._step += 1
        return batch

    def _step_rng(self) -> torch.Generator:
        """Return the random generator of this step, which depends on the position in the stream alone."""
        seed = np.random.SeedSequence([self._seed, self._step]).generate_state(1, np.uint64)[0]
        return torch.Generator(self._images.pixels.device).manual_seed(int(seed >> 1))

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self._seed,
            "images": len(self._images),
            "batch_size": self._batch_size,
            "binarise": self._binarise,
        }


def at_a_time(most: int, shape: Sequence[int]) -> int:
    """Return how many images (C, H, W) to hold at a time: as many, fewer of more than 32×32×3 pixels."""
    return max(min(most, most * COMMON_PIXELS // math.prod(shape)), 1)


def in_order(images: Images, size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Yield every image once, in order, on a device, `size` at a time, fewer of large images."""
    size = at_a_time(size, images.pixels.shape[1:])
    for first in range(0, len(images), size):
        yield images.batch(slice(first, first + size)).to(device)


def _bernoulli(means: Tensor, rng: torch.Generator) -> Tensor:
    """Draw 0 or 1 with each mean; float, the shape of `means`."""
    return (torch.rand(means.shape, generator=rng, device=means.device) < means).float()


def _fits_in_memory(images: Images, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.pixels.numel() < MEMORY_FRACTION * free


def _hold_out(images: Images, fraction: float, rng: torch.Generator) -> tuple[Images, Images]:
    """Return the images without a random fraction of them, and that fraction, at least one image."""
    held_out = min(max(round(fraction * len(images)), 1), len(images) - 1)
    order = torch.randperm(len(images), generator=rng)
    return images.rows(order[held_out:].sort().values), images.rows(order[:held_out].sort().values)


def _untrained_labels(splits: dict[str, Images], names: Sequence[str]) -> Iterator[str]:
    """Name the labels that held-out images alone have: nothing is learned of them."""
    present = torch.cat([images.labels for images in splits.values()]).unique()
    missing = sorted(set(present[present >= 0].tolist()) - set(splits["train"].labels.tolist()))
    if missing and len(missing) < len(present):
        shown = [names[label] for label in missing[:5]] + ["…"] * (len(missing) > 5)
        yield f"no training images of label {', '.join(shown)}"


def _left_out(
    spec: str, images: Images, without: Any, only: Sequence[int | str], names: Sequence[str]
) -> list[int]:
    """Return the numbers of the labels to leave out of training images.

    UserError where no image has one of the labels given, or none is left.
    """
    if only and without not in (None, [], ()):
        raise UserError("--only and --without both say which labels to train on; give one of them")
    given = labels_of(only or without, names)
    present = images.labels.unique().tolist()
    for label in given:
        if label not in present:
            shown = ", ".join(names[each] for each in present if each >= 0)
            raise UserError(f"'{spec}' has no training images of label {names[label]}; they have: {shown}")
    if only:
        return [label for label in present if label >= 0 and label not in given]
    if len(present) == len(given):
        left_out = ", ".join(names[label] for label in given)
        raise UserError(f"'{spec}' has label {left_out} alone; without it there are no images to train on")
    return given


def _hash_splits(splits: dict[str, Images]) -> str:
    digest = hashlib.sha256()
    for name in sorted(splits):
        pixels, labels = splits[name].pixels, splits[name].labels
        digest.update(f"{name} {tuple(pixels.shape)}".encode())
        digest.update(pixels.numpy().data)
        digest.update(labels.numpy().data)
    return digest.hexdigest()
