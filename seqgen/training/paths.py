"""Paths as a run stores them: relative to its folder where they lie beside it, so that both can move."""

import os
from pathlib import Path

RELATIVE = ("./", "../")
"""How a stored path begins that is relative to the run; a name, as of a built-in corpus, begins otherwise."""


def to_store(path: str, folder: Path) -> str:
    """Return an absolute path as the run in a folder stores it; a name of anything else is returned as it is.

    Beside the run lies what is in the folder that holds it, or in the one above that: a project has its runs
    in `runs/`, and its text anywhere else in it.
    """
    run = folder.resolve()
    project = run.parent.parent if run.parent.parent != Path(run.anchor) else run.parent
    if not os.path.isabs(path) or not Path(path).is_relative_to(project):
        return path
    relative = os.path.relpath(path, run)
    return relative if relative.startswith(RELATIVE) else f"./{relative}"


def from_store(stored: str, folder: Path) -> str:
    """Return what a run in a folder stores as an absolute path, or as the name that it is."""
    return os.path.normpath(folder.resolve() / stored) if stored.startswith(RELATIVE) else stored


def moved_along(path: str, before: str, now: str) -> str:
    """Return where a file is that has moved along with another, if it is there; else where it was."""
    if Path(path).exists() or not (os.path.isabs(path) and os.path.isabs(before)):
        return path
    beside = os.path.normpath(Path(now).parent / os.path.relpath(path, Path(before).parent))
    return beside if os.path.exists(beside) else path
