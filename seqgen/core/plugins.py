"""Names of classes and functions, looked up in a registry, among entry points, or as `module:Name`.

What stands outside this package is somebody's code. `resolve` imports it, because the user gave its name; a
run folder that names such code is another matter: `check_trusted` refuses it unless the user gave the same
name, or said that the run is to be trusted.
"""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Container
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from seqgen.core.errors import UserError, did_you_mean

PACKAGE = "seqgen"


def import_name(target: str) -> Any:
    """Import `package.module:Name`; UserError in one line where there is no such module or name."""
    module, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path and not module.startswith(f"{PACKAGE}."):
        sys.path.append(
            str(Path.cwd())
        )  # a module beside the user's data, whichever way the command was started
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
    """Return what a name stands for: a line of the registry, an entry point, or `module:Name` itself.

    registry: names and their `module:Name`. group: the group of entry points that is searched next.

    Raises:
        UserError: nothing has this name; the message has the nearest one.
    """
    if name in registry:
        return import_name(registry[name])
    if ":" in name:
        return import_name(name)
    for point in entry_points(group=group) if group else ():
        if point.name == name:
            return point.load()
    raise UserError(f"no {what} '{name}'" + did_you_mean(name, registry))


def source_hash(thing: Any) -> str | None:
    """Return the SHA-256 of the file that a class or function outside this package comes from, else None."""
    if thing.__module__.split(".")[0] == PACKAGE:
        return None
    return hashlib.sha256(Path(inspect.getfile(thing)).read_bytes()).hexdigest()


def check_trusted(
    name: str, registry: Container[str], where: Path, *, trust: bool, given: str | None
) -> None:
    """Raise UserError where a run names code outside this package that the user has not named himself.

    name: what the run's configuration names. where: its file. trust: the user said that it is to be trusted.
    given: the name on the command line, if any.
    """
    if name in registry or trust or name == given:
        return
    raise UserError(
        f"'{where}' names code outside seqgen, '{name}', which loading the run would execute; "
        "if you trust it, give the same command with --trust"
    )
