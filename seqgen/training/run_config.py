"""What the configuration of a run may say: the kind of each value and its range, checked before it is used.

A run folder may be somebody else's, or damaged. What other parts of the package read from `Run.config` is of
the kinds below; a key that is not listed is shown at most.
"""

from collections.abc import Mapping
from typing import Any

from seqgen.core.errors import UserError
from seqgen.core.settings import LARGEST
from seqgen.core.untrusted import is_of

LONGEST = 1 << 16
"""Tokens of a sentence, at most: some hundred of them are sampled at a time."""
VERBS = ("pretrain", "adversarial", "image")
KINDS: dict[str, Any] = {
    "algorithm": str,
    "verb": str,
    "settings": dict,
    "seed": int,
    "steps": int,
    "minutes": int | float,
    "code_hash": str | None,
    "sizes": dict,
    # of a run on text
    "corpus_hash": str,
    "vocab_size": int,
    "length": int,
    "fixed_length": int | None,
    "never_empty": bool,
    "labels": dict | None,
    "grammar": str | None,
    "init": str | None,
    "removed": dict,
    # of a run on images
    "data_hash": str,
    "binarise": str,
    "without": int | list | None,
    "shape": list,
    "classes": int,
    "names": list,
    "training_labels": list,
    "size": int | None,
    "label_column": str | None,
    "background": str | None,
}
RANGES = {
    "seed": (0, (1 << 63) - 1),
    "steps": (1, LARGEST),
    "vocab_size": (1, (1 << 31) - 1),
    "length": (1, LONGEST),
    "fixed_length": (1, LONGEST),
    "classes": (0, 1 << 16),
    "without": (0, 1 << 16),
    "shape": (1, 1 << 16),
    "training_labels": (0, 1 << 16),
    "size": (1, 1 << 12),
}
"""Least and greatest value; of a list, of all that it holds."""
TEXT = ("settings", "data", "corpus_hash", "seed", "vocab_size", "length", "steps")
"""What every run on text says."""
IMAGES = (
    "settings",
    "data",
    "data_hash",
    "seed",
    "binarise",
    "without",
    "shape",
    "classes",
    "training_labels",
)
"""What every run on images says."""


def check(config: Mapping[str, Any]) -> None:
    """Raise ValueError where a value is of another kind or out of range; what is missing is no matter."""
    if config["verb"] not in VERBS:
        raise ValueError(f"it has verb={config['verb']!r:.80}, which is none of {', '.join(VERBS)}")
    kinds = KINDS | {"data": str if config["verb"] == "image" else dict}
    for name, kind in kinds.items():
        if name in config and not (is_of(kind, config[name]) and _is_in_range(name, config[name])):
            raise ValueError(f"it has {name}={config[name]!r:.80}")
    if "shape" in config and len(config["shape"]) != 3:
        raise ValueError(f"it has shape={config['shape']!r:.80}; an image has channels, height and width")
    for name in ("sizes", "removed"):
        if not all(is_of(int, count) and 0 <= count <= LARGEST for count in config.get(name, {}).values()):
            raise ValueError(f"it has {name}={config[name]!r:.80}, and no numbers of sentences or images")
    counts = (config.get("labels") or {}).values()
    if not all(is_of(int, count) and 0 < count <= LARGEST for count in counts):
        raise ValueError("the counts of its labels are no numbers above 0")
    if not all(isinstance(name, str) for name in config.get("names", ())):
        raise ValueError("the names of its labels are not text")
    known = len(config.get("names") or range(config.get("classes", 0)))
    without = config.get("without") or 0
    if max(without if isinstance(without, list) else [without]) >= max(known, 1):
        raise ValueError(f"it has without={config['without']}, and {known} labels")


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that says of settings that did not exist when it was written what they were.

    Where there were latent vectors, they were made of the encoder's last states, and no map of them was added
    to what the vocabulary head reads.
    """
    settings = config.get("settings", {})
    if config["verb"] == "image" or "latent_dim" not in settings:
        return config
    before = {"generator": {"latent_skip": False}, "encoder": {"pooling": "last"}}
    parts = {name: was | settings[name] for name, was in before.items() if is_of(dict, settings.get(name))}
    return config | {"settings": settings | parts}


def require(config: Mapping[str, Any], names: tuple[str, ...], where: Any) -> None:
    """Raise UserError where a configuration lacks a value. where: its file."""
    for name in names:
        if name not in config:
            raise UserError(f"'{where}' is damaged: it has no {name}; restore it or train again")


def _is_in_range(name: str, value: Any) -> bool:
    if name not in RANGES or value is None:
        return True
    low, high = RANGES[name]
    listed = value if isinstance(value, list) else [value]
    return all(is_of(int, each) and low <= each <= high for each in listed)
