"""The README of the folder: every test that it names exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_shows_a_promise_exists():
    table = (ROOT / "seqgen/training/README.md").read_text(encoding="utf-8").partition("## ")[0]
    promises = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(promises) > 10
    for row in promises:
        named = NAMED.findall(row)
        assert named, f"no test shows: {row}"
        for path, test in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, (
                path,
                test,
            )
