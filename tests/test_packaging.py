"""What is installed is what is in the tree, and what the README shows exists."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from seqgen import algorithms, image
from seqgen.cli.main import app
from seqgen.core import settings

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"seqgen": "seqgen", "cli": "seqgen.cli", "corpora": "seqgen.corpora"}
"""Folders of code, and the package as which each installs."""
READMES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(p for folder in FOLDERS for p in (ROOT / folder).rglob("README.md"))]
]
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_package_folder_is_listed_by_name():
    found = set()
    for top, name in FOLDERS.items():
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / top).parts]))
    assert sorted(found) == SETUPTOOLS["packages"]


def test_every_data_file_is_matched_by_a_pattern():
    for package in SETUPTOOLS["packages"]:
        folder = Path(*importlib.import_module(package).__path__)
        for path in [*folder.iterdir(), *folder.glob("templates/*")]:
            if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name != "README.md":
                patterns = SETUPTOOLS["package-data"].get(package, [])
                assert any(path.match(pattern) for pattern in patterns), path
    assert files("seqgen.corpora").joinpath("scenes.cfg").is_file()


def test_nothing_named_cli_or_corpora_is_importable_elsewhere(tmp_path):
    code = (
        "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) for n in ('cli', 'corpora', 'tests')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_the_module_is_the_command_from_another_folder(tmp_path):
    result = run_module(["corpora", "list"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "scenes" in result.stdout


def test_the_module_is_the_command_in_an_uninstalled_checkout():
    result = run_uninstalled(["corpora", "list"], cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "scenes" in result.stdout


def test_a_folder_without_the_command_line_is_one_clear_line(tmp_path):
    folder = tmp_path / "seqgen"
    folder.mkdir()
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "seqgen" / name, folder / name)
    result = run_uninstalled(["corpora", "list"], cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == f"seqgen: no command line in '{folder}'; run it from another folder\n"


def run_uninstalled(arguments, *, cwd):
    # -S leaves out the finder of an editable installation: only the bare folders below `cwd` are left.
    packages = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    return run_module(arguments, cwd=cwd, options=["-S"], env={**os.environ, "PYTHONPATH": packages})


def test_an_error_of_the_module_names_the_module(tmp_path):
    result = run_module(["nope"], cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "seqgen: No such command 'nope'. See 'python -m seqgen --help'.\n"


def run_module(arguments, *, cwd, options=(), env=None):
    command = [sys.executable, *options, "-m", "seqgen", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def read(readme):
    return (ROOT / readme).read_text(encoding="utf-8")


def commands(readme):
    """Return the command lines that a README shows, in its text and in its blocks, and where each stands."""
    text = read(readme)
    inline = re.findall(r"`(seqgen [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M)
    fenced = [line for language, block in blocks if not language for line in block.splitlines()]
    lines = inline + [line for line in fenced if line.startswith("seqgen ")]
    return {" ".join(line.split("#")[0].split()) for line in lines if "[" not in line}


def settings_shown(readme):
    """Return (verb, algorithm, key=value, …) of each command of a README that sets settings."""
    shown = set()
    for line in commands(readme):
        words = shlex.split(line.replace("seqgen image train", "seqgen image-train"))[1:]
        pairs = [after for word, after in pairwise(words) if word == "--set"]
        if pairs and words[0] in VERBS:
            name = words[1] if not words[1].startswith("-") else VERBS[words[0]][1]
            if ":" not in name:  # code of a README, which another test runs
                shown.add((words[0], name, *pairs))
    return sorted(shown)


VERBS = {
    "pretrain": (algorithms.PRETRAIN, "mle"),
    "adversarial": (algorithms.ADVERSARIAL, "seqgan"),
    "image-train": (image.MODELS, "vae"),
}
"""The registry of each verb, and the algorithm of a command that names none."""


def test_the_newcomers_page_is_short_and_shows_commands():
    assert len(read("README.md").splitlines()) <= 170
    assert len(commands("README.md")) > 8


def test_the_layout_names_every_folder_of_code():
    (layout,) = re.findall(r"## The layout of the code\n.*?```\n(.*?)```", read("README.md"), flags=re.S)
    folders = [path.parent.relative_to(ROOT) for path in ROOT.glob("seqgen/*/__init__.py")]
    assert sorted(line.split()[0] for line in layout.splitlines()) == sorted(
        ["cli", "corpora", *map(str, folders)]
    )


def test_every_folder_that_a_readme_should_be_in_has_one():
    assert {"algorithms", "bench", "corpora", "evaluation", "image"} <= {
        Path(each).parent.name for each in READMES
    }


def test_the_citation_and_the_changelog_are_of_this_version():
    cited = dict(re.findall(r"^([a-z-]+): (.+)$", read("CITATION.cff"), flags=re.M))
    project = PROJECT["project"]
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert f"- name: {project['authors'][0]['name']}\n" in read("CITATION.cff")
    assert re.findall(r"^  - (?!name)(.+)$", read("CITATION.cff"), flags=re.M) == project["keywords"]
    assert re.findall(r"^## ([0-9.]+)", read("CHANGELOG.md"), flags=re.M)[0] == project["version"]
    for line in re.findall(r"`(seqgen [^`]*)`", read("CHANGELOG.md")):
        words = [word for word in shlex.split(line)[1:] if not word.startswith("-")]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("command", sorted(set().union(*map(settings_shown, READMES))))
def test_every_setting_of_a_readme_exists(command):
    verb, algorithm, *pairs = command
    config = algorithms.get(algorithm, VERBS[verb][0]).config()
    settings.override(config, settings.parse_pairs(pairs))


@pytest.mark.parametrize("readme", READMES)
def test_every_setting_in_the_text_of_a_readme_exists(readme):
    configs = [entry.config() for registry, _ in VERBS.values() for entry in registry.values()]
    keys = {key for config in configs for key, *_ in settings.describe(type(config), config)}
    known = {key[start:] for key in keys for start in (0, *(m.end() for m in re.finditer(r"\.", key)))}
    text = re.sub(r"```.*?```", "", read(readme), flags=re.S)
    for code in re.findall(r"`([^`]*)`", text):
        for key in re.findall(r"(?:^|--set\s+)([a-z][a-z0-9_.]+)=", code):
            assert key in known | {"key"}, f"{key} in `{code}`"


@pytest.mark.parametrize("readme", READMES)
def test_every_link_and_picture_of_a_readme_resolves(readme):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(readme))
    for link in links:
        if not re.match(r"[a-z]+:", link):
            assert ((ROOT / readme).parent / link).exists(), link


@pytest.mark.parametrize("readme", READMES)
def test_every_module_that_a_readme_names_exists(readme):
    for name in re.findall(r"\bseqgen(?:\.[a-z0-9_]+)+\b", read(readme)):
        module, _, attribute = name.rpartition(".")
        parent = importlib.import_module(module)
        assert hasattr(parent, attribute) or importlib.util.find_spec(name), name


@pytest.mark.parametrize("readme", READMES)
def test_the_lines_of_a_readme_are_short_enough_to_read(readme):
    prose = [line for line in read(readme).splitlines() if not line.startswith(("|", "!", "seqgen "))]
    assert max(map(len, prose)) <= 120


def normal(name):
    return re.sub("[-_.]+", "-", name).lower()


def test_every_package_of_an_installation_is_pinned():
    listed = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line.split("==")[0]) for line in listed if "==" in line}
    waiting, found = [Requirement("seqgen[dev,test]")], {}
    while waiting:
        wanted = waiting.pop()
        name, extras = normal(wanted.name), {"", *wanted.extras}
        if extras <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | extras
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    of_cuda = {name for name in found if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert found.keys() - {"seqgen"} - of_cuda <= pinned


def test_every_package_that_is_imported_is_declared():
    optional = PROJECT["project"]["optional-dependencies"]["export"]
    declared = {normal(Requirement(text).name) for text in [*PROJECT["project"]["dependencies"], *optional]}
    owners = packages_distributions()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for module in re.findall(
                r"^ *(?:import|from) (\w+)", path.read_text(encoding="utf-8"), flags=re.M
            ):
                if module in owners and module not in sys.stdlib_module_names:
                    assert {normal(owner) for owner in owners[module]} & {*declared, "seqgen"}, (path, module)
