"""Functions of the user's from sentences to numbers: rewards, metrics, filters.

A function is named `FILE.py:function` or `package.module:function`, takes a list of sentences and returns as
many numbers. Naming it on the command line runs its file, so nothing here may be called with a name that a
run folder gives.
"""

import hashlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from seqgen.core import plugins
from seqgen.core.errors import UserError


@dataclass(frozen=True)
class SentenceFunction:
    """A function of the user's, whose errors and results are checked."""

    name: str
    """as the user named it"""
    function: Callable[[list[str]], Any]

    @property
    def short(self) -> str:
        """The name without its file or module."""
        return self.name.rpartition(":")[2]

    @property
    def source_hash(self) -> str | None:
        """SHA-256 of its source file; None where it has none."""
        try:
            return hashlib.sha256(Path(inspect.getfile(self.function)).read_bytes()).hexdigest()
        except (OSError, TypeError):
            return None

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Return its number of each sentence, (N,) float64.

        Raises:
            UserError: it failed, and where; or it did not return as many finite numbers.
        """
        given = list(sentences)
        try:
            found = np.asarray(self.function(given), dtype=np.float64)
        except Exception as error:
            raise UserError(f"{self.name} failed: {_described(error)}") from error
        if found.shape != (len(given),):
            shape = "×".join(map(str, found.shape)) or "one"
            raise UserError(
                f"{self.name} returned {shape} numbers for {len(given)} sentences; return a list with one "
                "number a sentence"
            )
        if not np.isfinite(found).all():
            at = int(np.flatnonzero(~np.isfinite(found))[0])
            raise UserError(f"{self.name} returned {found[at]} for '{given[at]}'; return a finite number")
        return found


def load(name: str) -> SentenceFunction:
    """Import the function of a name, which runs its file or module; UserError where there is none."""
    target, colon, attribute = name.rpartition(":")
    if not (target and colon and attribute.isidentifier()):
        raise UserError(f"'{name}' names no function; give FILE.py:function or package.module:function")
    if target.endswith(".py"):
        function = getattr(_file(Path(target)), attribute, None)
    else:
        function = plugins.import_name(name)
    if not callable(function):
        raise UserError(f"'{target}' has no function '{attribute}'; give FILE.py:function")
    return SentenceFunction(name, function)


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"there is no file '{path}'; give FILE.py:function, from the current folder")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"'{path}' cannot be imported: {_described(error)}") from error
    return module


def _described(error: Exception) -> str:
    """Name an error and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    last = frames[-1]
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{text} ({last.filename}, line {last.lineno}, in {last.name}: {last.line})"
