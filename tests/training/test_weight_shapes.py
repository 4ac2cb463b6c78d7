"""The check of shapes before a run is loaded: cheap where they fit."""

import subprocess
import sys
from pathlib import Path

import pytest

LOADED = """
import sys
from seqgen.training import load
load.load(sys.argv[1], "cpu")
print(*sorted({"torch._dynamo", "sympy", "pandas"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("name", ["mle", "sentence-vae"])
def test_loading_a_run_imports_no_compiler(small_runs: dict[str, Path], name: str) -> None:
    command = [sys.executable, "-c", LOADED, str(small_runs[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
