"""The one exception that the command line turns into a line and exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can cause and mend: the message says what was given, what is allowed, what to do."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """End an error message with the nearest allowed word, or all of them: `; did you mean 'seqgan'?`."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; allowed: {', '.join(names)}"
