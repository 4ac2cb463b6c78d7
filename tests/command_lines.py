"""Commands that documentation shows: which command of `seqgen` one calls, and whether its parser takes it."""

import shlex
from collections.abc import Iterator
from typing import Any

import typer

from seqgen.cli.main import app

COMMAND: Any = typer.main.get_command(app)


def commands(command: Any = COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that name each command and group."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = list(commands())


def called(line: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the words of a command that name it, and those that are its arguments."""
    words = shlex.split(line, comments=True)
    assert words[0] == "seqgen"
    path: tuple[str, ...] = ()
    while (*path, words[len(path) + 1] if len(words) > len(path) + 1 else "") in ALL:
        path = (*path, words[len(path) + 1])
    return path, words[len(path) + 1 :]


def parse(line: str) -> tuple[str, ...]:
    """Parse a command as the command line does, without calling it; return the words that name it."""
    path, arguments = called(line)
    command, context = COMMAND, typer.Context(COMMAND, info_name="seqgen")
    for name in path:
        command = command.commands[name]
        context = typer.Context(command, info_name=name, parent=context)
    assert not hasattr(command, "commands"), f"'{line}' names a group"
    rest = command.parse_args(context, list(arguments))
    assert not rest
    return path
