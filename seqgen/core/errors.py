"""What the command line prints as one line: UserError, with exit code 2, and Notice, and goes on."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error the user can correct. The message says what was given, what is allowed and what to do."""


class Notice(UserWarning):
    """A warning of something that the user should know and need not correct; the message is one line."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is of the memory of the machine or of a GPU; torch raises a RuntimeError for both."""
    signs = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the end of an error message: `; did you mean 'seqgan'?`, or all names if none is near."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; allowed: {', '.join(names)}"
