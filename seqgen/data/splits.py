"""Dividing sentences into train, valid and test by their hashes: no sentence is in two splits."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgen.core import cache

HELD_OUT_FRACTION = 0.05
"""Fraction of the lines in each held-out split that is taken at random."""

HELD_OUT_MAX = 10_000
"""Largest number of lines in each held-out split that is taken at random."""

NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """The indices of the sentences of each split, ascending; int64. Those of a held-out split are indices
    into the held-out source if one was given, else into the training source."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    removed: dict[str, int]

    def save(self, folder: Path) -> None:
        """Write the indices as raw int64, one file a split."""
        for name in NAMES:
            (folder / name).write_bytes(getattr(self, name).astype(np.int64).data)
        (folder / "removed.json").write_text(json.dumps(self.removed))

    @classmethod
    def load(cls, folder: Path) -> "Splits":
        """Open splits written by `save`, memory-mapped."""
        rows = {name: cache.map_array(folder / name, np.int64) for name in NAMES}
        removed = json.loads((folder / "removed.json").read_text())
        return cls(rows["train"], rows["valid"], rows["test"], removed)


def split(train: np.ndarray, valid: np.ndarray | None, test: np.ndarray | None, *, seed: int) -> Splits:
    """Divide sentences given by their 64-bit hashes (N,); a split that is None is taken from `train`.

    Sentences of `test` are removed from `valid` and `train`, those of `valid` from `train`. The rule by which
    missing splits are taken is stated in `seqgen.data.corpus.open_corpus`.
    """
    keep_valid = None if valid is None else np.flatnonzero(~_among(valid, test))
    keep_train = np.flatnonzero(~(_among(train, test) | _among(train, valid)))
    removed = {
        "train": len(train) - len(keep_train),
        "valid": 0 if valid is None or keep_valid is None else len(valid) - len(keep_valid),
    }
    wanted = [name for name, given in (("test", test), ("valid", valid)) if given is None]
    part = _assign(train[keep_train], len(wanted), np.random.default_rng(seed))
    rows = {name: keep_train[part == number] for number, name in enumerate(wanted, 1)}
    return Splits(
        train=keep_train[part == 0],
        valid=rows["valid"] if keep_valid is None else keep_valid,
        test=rows["test"] if test is None else np.arange(len(test)),
        removed=removed,
    )


def _among(hashes: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    """Return True for each hash that is among the others; bool (N,)."""
    if others is None or not len(others):
        return np.zeros(len(hashes), bool)
    ordered = np.sort(others)
    at = np.searchsorted(ordered, hashes)
    return ordered[np.minimum(at, len(ordered) - 1)] == hashes


def _assign(hashes: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Return the held-out part of each sentence, 1 to `parts`, or 0 for the rest; uint8 (N,).

    Groups of equal sentences are assigned in random order until a part is full. A group larger than a part
    stays in the rest, so very common sentences are never held out.
    """
    rest = np.zeros(len(hashes), np.uint8)
    if not parts:
        return rest
    _, group, copies = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(copies) <= parts:
        return rest
    size = min(max(int(HELD_OUT_FRACTION * len(hashes)), 1), HELD_OUT_MAX)
    part_of_group = np.zeros(len(copies), np.uint8)
    order = rng.permutation(len(copies))
    order = order[copies[order] <= size]
    for part in range(1, parts + 1):
        taken = int(np.searchsorted(np.cumsum(copies[order]), size, side="right"))
        part_of_group[order[:taken]] = part
        order = order[taken:]
    return part_of_group[group]
