"""Classes and functions by name: of a registry, of an entry point, or as `module:Name`.

Code outside this package is the user's or a third party's. `resolve` imports it because the user named it. If
a run folder names it instead, importing would execute whatever the author of the run chose: `check_trusted`
refuses that unless the user gave the same name, or says that the run is to be trusted.
"""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from seqgen.core.errors import UserError, did_you_mean

PACKAGE = "seqgen"


def import_name(target: str) -> Any:
    """Import `package.module:Name`; raise UserError if there is no such module or name.

    Modules in the current folder are found as well.
    """
    module, _, attribute = target.partition(":")
    if not module or module.startswith("."):
        raise UserError(f"cannot import '{target}'; give module:Class as Python imports it")
    if str(Path.cwd()) not in sys.path and not module.startswith(f"{PACKAGE}."):
        sys.path.append(str(Path.cwd()))  # the script `seqgen`, unlike `python -m`, does not search it
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import '{target}': no module '{error.name}'; give module:Class as Python imports it, "
            "from the current folder or an installed package"
        ) from error
    if not hasattr(found, attribute):
        raise UserError(f"module '{module}' has no '{attribute}'; give module:Class")
    return getattr(found, attribute)


def resolve(name: str, registry: dict[str, str], what: str, *, group: str | None = None) -> Any:
    """Return the class or function of a name: an entry of `registry`, `module:Name`, or an entry point.

    registry: names and their `module:Name`. what: the kind of name, for the message. group: the group of
    entry points to search.

    Raises:
        UserError: the name is unknown; the message suggests the nearest one.
    """
    if name in registry:
        return import_name(registry[name])
    if ":" in name:
        return import_name(name)
    point = _entry_point(name, group)
    if point is not None:
        return point.load()
    raise UserError(f"no {what} '{name}'" + did_you_mean(name, registry))


def _entry_point(name: str, group: str | None) -> EntryPoint | None:
    """Return the entry point of a name in a group of installed packages, without importing it."""
    points = entry_points(group=group) if group else ()
    return next((point for point in points if point.name == name), None)


def source_hash(thing: Any) -> str | None:
    """Return the SHA-256 of the source file of a class or function; None for those of this package."""
    if thing.__module__.split(".")[0] == PACKAGE:
        return None
    return hashlib.sha256(Path(inspect.getfile(thing)).read_bytes()).hexdigest()


def check_trusted(
    name: str,
    registry: Container[str],
    where: Path,
    *,
    trust: bool,
    given: str | None,
    group: str | None = None,
) -> None:
    """Raise UserError if a run names code outside this package that the user neither named nor trusts.

    name: the class that the configuration of the run names. where: the file of the configuration. trust: the
    user said that the run is to be trusted. given: the name on the command line, if any. group: the group of
    entry points, which are outside code as well.
    """
    if name in registry or trust or name == given:
        return
    if ":" not in name and _entry_point(name, group) is None:
        return  # a name of nothing: looking it up says so
    raise UserError(
        f"'{where}' names code outside seqgen, '{name}', which loading the run would execute; "
        "if you trust it, give the same command with --trust"
    )


def check_unchanged(thing: Any, name: str, hash: str | None, run: Path) -> None:
    """Raise UserError if outside code is not what it was when a run was trained, by the hash that it has."""
    if source_hash(thing) != hash:
        raise UserError(
            f"the code of '{name}' is not what it was when '{run}' was trained; give --trust to load the run "
            "all the same"
        )
