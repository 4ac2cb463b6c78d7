"""Dividing sentences into train, valid and test by their hashes, so that no two splits share a sentence."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgen.core import cache

HELD_OUT_FRACTION = 0.05
"""Fraction of the lines that a split made by seed holds out."""

HELD_OUT_MOST = 10_000
"""Lines that a split made by seed holds out at most."""

NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """The rows of each split, ascending; int64. Held-out rows count in the held-out source where one was
    given, otherwise in the training source."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    removed: dict[str, int]

    def save(self, folder: Path) -> None:
        """Write the rows as raw int64, a file a split."""
        for name in NAMES:
            (folder / name).write_bytes(getattr(self, name).astype(np.int64).data)
        (folder / "removed.json").write_text(json.dumps(self.removed))

    @classmethod
    def load(cls, folder: Path) -> "Splits":
        """Map what `save` wrote."""
        rows = {name: cache.map_array(folder / name, np.int64) for name in NAMES}
        removed = json.loads((folder / "removed.json").read_text())
        return cls(rows["train"], rows["valid"], rows["test"], removed)


def split(train: np.ndarray, valid: np.ndarray | None, test: np.ndarray | None, *, seed: int) -> Splits:
    """Divide sentences given by their 64-bit hashes; None: that split is taken off the training sentences.

    Sentences of `valid` that stand in `test` are removed, and those of `train` that stand in either.
    `seqgen.data.corpus.open_corpus` states the rule by which missing splits are drawn.
    """
    keep_valid = None if valid is None else np.flatnonzero(~_among(valid, test))
    keep_train = np.flatnonzero(~(_among(train, test) | _among(train, valid)))
    removed = {
        "train": len(train) - len(keep_train),
        "valid": 0 if valid is None or keep_valid is None else len(valid) - len(keep_valid),
    }
    wanted = [name for name, given in (("test", test), ("valid", valid)) if given is None]
    drawn = _draw(train[keep_train], len(wanted), np.random.default_rng(seed))
    rows = {name: keep_train[drawn == number] for number, name in enumerate(wanted, 1)}
    return Splits(
        train=keep_train[drawn == 0],
        valid=rows["valid"] if keep_valid is None else keep_valid,
        test=rows["test"] if test is None else np.arange(len(test)),
        removed=removed,
    )


def _among(hashes: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    """Return which hashes occur among others; bool (N,)."""
    if others is None or not len(others):
        return np.zeros(len(hashes), bool)
    ordered = np.sort(others)
    at = np.searchsorted(ordered, hashes)
    return ordered[np.minimum(at, len(ordered) - 1)] == hashes


def _draw(hashes: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Return the part that each sentence goes to, 0 for the rest; uint8 (N,).

    Whole groups of equal sentences are dealt out in random order until a part has its size; a group larger
    than that stays in the rest, so that very common sentences are never held out.
    """
    which = np.zeros(len(hashes), np.uint8)
    if not parts:
        return which
    _, group, copies = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(copies) <= parts:
        return which
    size = min(max(int(HELD_OUT_FRACTION * len(hashes)), 1), HELD_OUT_MOST)
    part_of_group = np.zeros(len(copies), np.uint8)
    order = rng.permutation(len(copies))
    order = order[copies[order] <= size]
    for part in range(1, parts + 1):
        taken = int(np.searchsorted(np.cumsum(copies[order]), size, side="right"))
        part_of_group[order[:taken]] = part
        order = order[taken:]
    return part_of_group[group]
