"""Text from a file, a name or a sample as it may go to a terminal or a page: without control characters."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All of Unicode's control characters but the tab and the line feed, those that turn the direction of
writing, and halves of surrogate pairs, which stand for the bytes of a path that is no UTF-8."""


def printable(text: str) -> str:
    r"""Return text with its control characters written as Python does: `\x1b`, `\u202e`.

    Raw, they could move the cursor, hide what stands before them, or give commands to the terminal.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
