"""Sentences from the splits of a dataset, by the `datasets` library."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.core.errors import UserError
from seqgen.data.json_rows import MISSING
from seqgen.data.reading import ROWS, Chunks, Reading, Taken, choose_columns, with_given

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""The names that datasets give to each split, the most common one first."""


def load(spec: str) -> dict[str, "Dataset"]:
    """Open `NAME`, `NAME:CONFIG` or a local dataset folder; return its splits as train, valid and test.

    The only split of a dataset is train, whatever its name. Raise UserError with the first line of the
    library's message if the dataset cannot be opened.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    if not spec:
        raise UserError("'hf:' names no dataset; give hf:NAME, hf:NAME:CONFIG or hf: and a dataset folder")
    name, config = _name_and_config(spec)
    # The bases are OSError and the error of the HTTP library in use, which is not always wrapped.
    failures = (*HfHubHTTPError.__bases__, OSError, ValueError, LookupError, RuntimeError, ImportError)
    try:
        found = datasets.load_dataset(name, config)
    except (*failures, datasets.exceptions.DatasetsError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"cannot open the dataset 'hf:{spec}': {reason}") from error
    splits = {role: found[each] for role, names in NAMES.items() for each in reversed(names) if each in found}
    if "train" not in splits:
        if len(found) != 1:
            raise UserError(f"the dataset 'hf:{spec}' has no split 'train'; its splits: {', '.join(found)}")
        splits = {"train": next(iter(found.values()))}
    return {role: split for role, split in splits.items() if len(split)}


def absolute(spec: str) -> str:
    """Return `NAME` or `NAME:CONFIG` with the absolute path of a dataset folder in place of its name."""
    name, config = _name_and_config(spec)
    if not name or not Path(name).exists():
        return spec
    return str(Path(name).resolve()) + (f":{config}" if config else "")


def _name_and_config(spec: str) -> tuple[str, str | None]:
    """Split `NAME:CONFIG`; the path of a folder may have colons of its own."""
    if Path(spec).exists() or ":" not in spec:
        return spec, None
    name, config = spec.rsplit(":", 1)
    return name, config


def key(split: "Dataset", how: Reading) -> str:
    """Return a cache key of a split, by the hashes of its files."""
    digests = []
    for part in split.cache_files:
        with open(part["filename"], "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256(
        json.dumps(["hub", how.column, how.label, how.source, digests]).encode()
    ).hexdigest()


def read(split: "Dataset", name: str, how: Reading, taken: Taken) -> Chunks:
    """Yield the sentences of a split in lists, not yet normalised; None for null.

    Labels that the dataset numbers are given by their names.
    """
    text = {each: _is_text(kind) for each, kind in split.features.items()}
    column, given = choose_columns(name, text, how)
    if not text[column]:
        raise UserError(f"{name}: column {column!r} holds {split.features[column]}, not text")
    taken.say(f"column {column!r}")
    columns = [column] if given is None else [column, given]
    batches: Iterator[dict[str, Any]] = split.select_columns(columns).iter(batch_size=ROWS)
    names = getattr(split.features[given], "names", None) if given else None
    for batch in batches:
        taken.drop(MISSING, batch[column].count(None))
        if given is None:
            yield batch[column]
            continue
        numbers = batch[given]
        labels = [names[each] if names and each is not None and each >= 0 else each for each in numbers]
        yield [with_given(*pair, taken) for pair in zip(batch[column], labels, strict=True)]


def _is_text(feature: object) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")
