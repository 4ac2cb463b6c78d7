"""The link `latest` beside runs, which names the one trained last, and the file that stands for it."""

import contextlib
import os
from pathlib import Path

from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.core.temporary_files import replace_link

NAMED = "# The newest run beside this file, written by seqgen where no link can be made:"
"""The first line of the file `latest` that stands for a link; the second is the name of the run."""
MOST_NAMED = 4096
"""Bytes of that file, at most."""


def latest(root: Path) -> Path | None:
    """Return the run that `root/latest` names, or None."""
    link = root / "latest"
    if link.is_symlink():
        return root / os.readlink(link) if link.exists() else None
    named = named_in(link)
    return named if named is not None and named.is_dir() else None


def named_in(path: Path) -> Path | None:
    """Return the run that a file names in place of a link; None where the path is anything else."""
    if path.name != "latest" or path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:  # which may be anything of the user's
        head, _, name = file.read(MOST_NAMED).decode(errors="replace").partition("\n")
    name = name.removesuffix("\n")
    is_ours = head == NAMED and name not in ("", ".", "..") and Path(name).name == name and "\0" not in name
    return path.parent / name if is_ours else None


def mark_latest(path: Path) -> None:
    """Point the `latest` beside a run at it: a link, or where none can be made, a file with its name."""
    link = path.parent / "latest"
    if link.exists() and not link.is_symlink() and named_in(link) is None:
        return  # a folder or file of the user's own bears the name
    try:
        replace_link(link, path.name)
    except (OSError, NotImplementedError):  # Windows asks for a privilege, and some disks have no links
        with contextlib.suppress(OSError, UserError):  # without either, commands go by the files' times
            if link.is_symlink():
                link.unlink()  # a write would follow it
            write_text(link, f"{NAMED}\n{path.name}\n")
