"""UserError, which the command line prints as one line with exit code 2, and its suggestions."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An error the user can correct. The message says what was given, what is allowed and what to do."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the end of an error message: `; did you mean 'seqgan'?`, or all names if none is near."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; allowed: {', '.join(names)}"
