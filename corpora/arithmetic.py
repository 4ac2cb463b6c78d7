"""The value of an arithmetic expression of +, -, * and parentheses."""

import re

from seqgen.core.errors import UserError


def value(expression: str) -> str:
    """Evaluate `12+3*(7-4)=` to `21`: whole numbers, * before + and -, left to right.

    The final `=` is optional. Raise UserError for anything else.
    """
    try:
        return str(_evaluated(expression))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{expression!r:.80} is no arithmetic: {error!s:.80}") from error


def _evaluated(expression: str) -> int:
    tokens = re.findall(r"\d+|\S", expression.rstrip("="))
    tokens.append("")
    position = 0

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1]

    def factor() -> int:
        token = take()
        if token == "(":
            inner = total()
            if take() != ")":
                raise ValueError("no closing parenthesis")
            return inner
        return int(token)

    def product() -> int:
        result = factor()
        while tokens[position] == "*":
            take()
            result *= factor()
        return result

    def total() -> int:
        result = product()
        while tokens[position] in ("+", "-"):
            result += product() if take() == "+" else -product()
        return result

    result = total()
    if tokens[position]:
        raise ValueError(f"{tokens[position]!r} is out of place")
    return result
