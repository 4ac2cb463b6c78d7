"""Folders of images: which files are read, and which split and label their folders give to pictures."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.core.errors import UserError
from seqgen.image.data.pictures import Facts

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words in the name of a folder or a file, and the split that it holds."""
MASKS = "ground_truth"
"""The folder of MVTec AD that shows where pictures of the test split are damaged: no images to learn from."""
ARCHIVE_REST = "__MACOSX"
"""What macOS leaves in archives: a file of attributes for each picture, by the picture's name."""


def split_of(name: str) -> str | None:
    """Return the split that a name says in a word, as `train-images` or `splits_training` do, or None."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def files_in(folder: Path) -> list[Path]:
    """Return the files at any depth of a folder in order of their names, also those in linked folders.

    What is hidden is left out, and all that is in a hidden folder, such as `.ipynb_checkpoints`. UserError
    for a link to what is not there.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in _walk(folder, (folder.resolve(),)) if path.is_file())


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures at any depth of a folder in order of their names."""
    return [path for path in files_in(folder) if path.suffix.lower() in PICTURES]


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield files and folders at any depth; above: the real places of the folder and those that hold it."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == ARCHIVE_REST:
            continue
        if not path.exists():
            raise UserError(
                f"'{path}' is a link to '{path.readlink()}', which is not there; bring that back, or remove "
                "the link"
            )
        yield path
        if path.is_dir():
            real = path.resolve()
            if real not in above:  # a link to a folder that holds it would never end
                yield from _walk(path, (*above, real))


@dataclass(frozen=True)
class Layout:
    """The pictures of a folder by their splits, each with the name of its label."""

    splits: dict[str, list[tuple[Path, str | None]]]
    """None: a picture without a label"""
    names: list[str]
    """of the labels 0, 1, 2, …; empty where there are none"""


def lay_out(folder: Path, pictures: Sequence[Path], facts: Facts) -> Layout:
    """Find the split and the label of each picture: folders `train`, `valid` and `test` are splits.

    The folders of a split are its labels. Where not every folder is a split, all pictures are for training
    and every folder is a label.

    Raises:
        UserError: pictures beside folders of labels or splits, two folders of one split, none to train on.
    """
    root, inside = _root_and_pictures(folder, pictures, facts)
    folders = {path: path.relative_to(root).parts[:-1] for path in inside}
    splits = _splits(root, folders)
    labels = {path: "/".join(parts[1:] if splits else parts) for path, parts in folders.items()}
    layout: dict[str, list[tuple[Path, str | None]]] = {}
    for path in inside:
        layout.setdefault(splits.get(path, "train"), []).append((path, labels[path] or None))
    for split in layout.values():
        _check_all_labelled(split)
    if "train" not in layout:
        raise UserError(f"'{root}' has pictures to test on but none in a folder 'train'")
    names = sorted({name for split in layout.values() for _, name in split if name is not None})
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    _say_empty(root, [path for split in layout.values() for path, name in split if name], facts)
    return Layout({name: layout[name] for name in sorted(layout)}, names)


def _root_and_pictures(folder: Path, pictures: Sequence[Path], facts: Facts) -> tuple[Path, list[Path]]:
    """Return the folder whose folders are splits or labels, and the pictures in it that are no masks."""
    root, inside = folder, list(pictures)
    parents = [path.relative_to(folder).parts[:-1] for path in pictures]
    # An archive often holds one folder with everything in it: the splits are below that.
    for depth, together in enumerate(zip(*parents, strict=False)):
        if "train" in {split_of(name) for name in together}:
            root = folder.joinpath(*parents[0][:depth])
            break
        if len(set(together)) > 1:
            break
    masks = [path for path in inside if path.relative_to(root).parts[0] == MASKS]
    if masks and any(split_of(path.relative_to(root).parts[0]) == "train" for path in inside):
        facts.say("{} masks in " + MASKS + " left out", len(masks))
        inside = [path for path in inside if path not in set(masks)]
    return root, inside


def _splits(root: Path, folders: dict[Path, tuple[str, ...]]) -> dict[Path, str]:
    """Return the split of each picture; of none where not all are in folders of splits.

    UserError where some are in the folders of several splits, and others beside those.
    """
    named = {path: (split_of(parts[0]) if parts else None) for path, parts in folders.items()}
    found = {path: split for path, split in named.items() if split}
    outside = [path for path in folders if path not in found]
    names = sorted(set(found.values()))
    if outside and "train" in names and len(names) > 1:
        raise UserError(
            f"'{root}' has folders of splits ({', '.join(names)}), and '{outside[0]}' is in none of them; "
            "move it into one, or away"
        )
    if outside:
        return {}
    by_split: dict[str, set[str]] = {}
    for path, split in found.items():
        by_split.setdefault(split, set()).add(folders[path][0])
    for split, together in by_split.items():
        if len(together) > 1:
            one, other, *_ = sorted(together)
            raise UserError(
                f"'{root}' has two folders of images to {split}, '{one}' and '{other}'; move one away"
            )
    return found


def _check_all_labelled(split: list[tuple[Path, str | None]]) -> None:
    """Raise UserError where pictures of a split lie beside the folders of its labels."""
    loose = [path for path, name in split if name is None]
    if loose and len(loose) < len(split):
        more = f" and {len(loose) - 1:,} more" if len(loose) > 1 else ""
        raise UserError(
            f"'{loose[0]}'{more} lies beside folders of pictures, whose names are their labels; move it into "
            "one of them, or away"
        )


def _say_empty(root: Path, labelled: Sequence[Path], facts: Facts) -> None:
    """Name folders without a picture beside those of labels: of these nothing can be learned."""
    filled = {parent for path in labelled for parent in path.parents}
    with_labels = {path.parent.parent for path in labelled}
    for path in sorted(_walk(root, (root.resolve(),))):
        if path.parent in with_labels and path.is_dir() and path not in filled:
            facts.say(f"no pictures in {str(path.relative_to(root)).translate(BRACES)}")


BRACES = str.maketrans({"{": "{{", "}": "}}"})
"""A fact is a format."""
