"""What is installed is what is in the tree, and what the README shows exists."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqgen.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_package_folder_is_listed_by_name():
    folders = {"seqgen": "seqgen", "cli": "seqgen.cli", "corpora": "seqgen.corpora"}
    found = set()
    for top, name in folders.items():
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / top).parts]))
    assert sorted(found) == SETUPTOOLS["packages"]


def test_every_data_file_is_matched_by_a_pattern():
    known = {".py", ".pyc"}
    for package, folder in SETUPTOOLS["package-dir"].items():
        for path in (ROOT / folder).iterdir():
            if path.is_file() and path.suffix not in known:
                patterns = SETUPTOOLS["package-data"].get(package, [])
                assert any(path.match(pattern) for pattern in patterns), path
    assert files("seqgen.corpora").joinpath("scenes.cfg").is_file()


def test_nothing_named_cli_or_corpora_is_importable_elsewhere(tmp_path):
    code = (
        "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) for n in ('cli', 'corpora', 'tests')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def readme_commands():
    inline = re.findall(r"`(seqgen [^`]*)`", README)
    fenced = [
        line for block in re.findall(r"```\n(.*?)```", README, flags=re.S) for line in block.splitlines()
    ]
    lines = inline + [line for line in fenced if line.startswith("seqgen ")]
    return sorted({line.split("#")[0].strip() for line in lines if "|" not in line and "[" not in line})


def test_the_readme_shows_commands():
    assert len(readme_commands()) > 8


@pytest.mark.parametrize("line", readme_commands())
def test_every_command_and_option_of_the_readme_exists(line):
    words = shlex.split(line)[1:]
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    path = []
    for word in words:
        if word.startswith("-") or len(path) == (2 if path[:1] in (["corpora"], ["bench"], ["image"]) else 1):
            break
        path.append(word)
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0, line
    for option in options:
        assert re.search(rf"{option}\b", shown.output), f"{option} of: {line}"
