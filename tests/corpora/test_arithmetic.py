"""The values of expressions."""

import pytest

from seqgen.corpora.arithmetic import value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("12+3*(7-4)=", "21"),
        ("1-2-3", "-4"),
        ("2*3*4-5", "19"),
        ("(1-9)*(2-7)", "40"),
        ("((3))", "3"),
        ("0", "0"),
    ],
)
def test_value(expression: str, expected: str):
    assert value(expression) == expected


@pytest.mark.parametrize("wrong", ["", "1+", "(1+2", "1)", "a", "1 2", "()", "*3"])
def test_no_value(wrong: str):
    with pytest.raises(ValueError, match=r"."):
        value(wrong)
