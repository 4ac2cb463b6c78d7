"""The width of the terminal and text that fits it: Chinese characters, combining ones, whole metrics."""

import os
import sys

import pytest

from seqgen.cli import terminal


def test_the_width_is_given_or_of_the_terminal_or_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "97")
    assert terminal.width() == 97
    for nonsense in ("", "0", "-3", "wide"):
        monkeypatch.setenv("COLUMNS", nonsense)
        monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((53, 11)))
        monkeypatch.setattr(sys.stderr, "fileno", lambda: 2, raising=False)
        assert terminal.width() == 53
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((0, 0)))
    assert terminal.width() == 80

    def none(number: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", none)
    assert terminal.width() == 80


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("seven b", 7, "seven b"),
        ("seven by", 7, "seven …"),
        ("床前明月光", 10, "床前明月光"),  # five characters of two columns
        ("床前明月光", 9, "床前明月…"),
        ("床前明月光", 8, "床前明…"),  # a fourth would leave no column for the mark
        ("café au", 6, "café …"),  # e and a combining accent are one column
        ("", 3, ""),
    ],
)
def test_a_line_is_cut_to_columns_not_to_characters(text: str, most: int, expected: str) -> None:
    assert terminal.cut(text, most) == expected
    assert terminal.columns(expected) <= most


def test_texts_are_packed_whole() -> None:
    assert terminal.packed(["aa", "bbb", "c", "dddd"], 8) == ["aa  bbb", "c  dddd"]
    assert terminal.packed(["aa", "bbb"], 6) == ["aa", "bbb"]
    assert terminal.packed([], 6) == []
