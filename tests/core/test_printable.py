"""What may go to a terminal."""

import pytest

from seqgen.core.printable import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode, 中文, 👩‍🚀\tand\nlines", "plain, ünïcode, 中文, 👩‍🚀\tand\nlines"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("over\rwritten\x08\x00", r"over\rwritten\x08\x00"),
        ("\x7f\x9b31m", r"\x7f\x9b31m"),
        ("a\u202etxt.exe", r"a\u202etxt.exe"),
        ("\udcff.txt", r"\udcff.txt"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
