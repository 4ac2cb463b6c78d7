"""Several processes that `torchrun` has started for one command: they work together, and one speaks."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from seqgen.core import launcher
from seqgen.core.errors import UserError

COMMANDS = ("pretrain", "adversarial", "sample", "evaluate")
"""The commands that several processes can share, beside `image train`."""


class _Silence(io.TextIOBase):
    """A standard stream of a process that is silent."""

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the other processes within a `with` block; all but the first are silent."""
    if not launcher.is_launched():
        yield
        return
    from seqgen.core import distributed

    with contextlib.ExitStack() as stack:
        if not launcher.is_first():
            stack.enter_context(contextlib.redirect_stdout(_Silence(sys.stdout)))
            stack.enter_context(contextlib.redirect_stderr(_Silence(sys.stderr)))
        stack.enter_context(distributed.joined())
        yield


def may_speak() -> bool:
    """Whether this process is to say why the command ends: of several that fail, the first."""
    if not launcher.is_launched():
        return True
    from seqgen.core import distributed

    return distributed.speaks_first()


def errors() -> TextIO:
    """Return where errors are written, also by a process that is silent otherwise."""
    return sys.stderr.behind if isinstance(sys.stderr, _Silence) else sys.stderr


def check_command(name: str | None, allowed: Sequence[str] = COMMANDS, *, group: str = "") -> None:
    """Raise UserError where several processes were started for a command of one."""
    if launcher.is_launched() and name is not None and name not in allowed:
        raise UserError(
            f"'seqgen {group}{name}' is a command of one process, and torchrun has started "
            f"{os.environ['WORLD_SIZE']}; start it without torchrun, which is for {', '.join(COMMANDS)} and "
            "image train"
        )
