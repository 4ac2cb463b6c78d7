"""Every command that a README shows is run in a shell as it stands there, and its Python as well.

In its blocks a command is a line that begins with a program; in its text and its tables it is what stands
between backticks. One with a placeholder (`NAME`, `RUN`, `…`) is no command yet: it is parsed if it can be.
`tests/command_server.py` says what is smaller than a user has it.
"""

import contextlib
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command_lines import called, parse
from command_server import ADDRESS, make_clients
from helpers import oracle_arrays
from made_texts import make
from PIL import Image
from torch.distributed.run import get_args_parser

ROOT = Path(__file__).resolve().parents[1]
READMES = [
    str(path.relative_to(ROOT))
    for path in [
        ROOT / "README.md",
        *sorted(p for top in ("seqgen", "cli", "corpora") for p in (ROOT / top).rglob("README.md")),
    ]
]


def read(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


PROGRAMS = ("seqgen ", "python ", "pip ", "make ", "head ", "torchrun ")
PLACEHOLDER = re.compile(r"\b(NAME|RUN|FILE|CORPUS|M|mymodule)\b|…|\[|key=value")
PARSED = {
    "seqgen corpora fetch": "it needs the network",
    "seqgen bench": "it takes minutes to hours: dozens of trainings, or timings of many seconds",
    "seqgen image evaluate": "annealed importance sampling takes minutes",
    "seqgen image left-out": "it trains one model without each of the labels, minutes",
    "seqgen image few-labels": "it fits hundreds of classifiers",
    "seqgen image augment": "it trains a model and dozens of classifiers",
    "seqgen image train vae --data cifar10": "it needs the network",
    "seqgen image train gan --data cifar10": "it needs the network",
    "pip install": "it needs the network",
    "make ": "it installs from the network; what `make demo` runs is run by another test",
    "torchrun --": "processes that each import torch; tests/cli/test_processes.py runs two of them",
    "python tests/": "it takes minutes; the test suite runs the same with small numbers",
}
"""What is parsed but not run, by how it begins, and why."""
NEEDS = {"chemistry.py": "rdkit"}
"""What a command names that needs a package which the tests do not install."""
BEFORE = {
    "seqgen/inference/README.md": ["seqgen evaluate --run runs/captions --json > scores.json"],
    "seqgen/image/README.md": ["seqgen image train vae --run runs/vae"],
    "seqgen/image/models/README.md": ["seqgen image train vae", "seqgen pretrain sentence-vae"],
}
"""Commands that a page takes for granted."""
MADE = re.compile(
    r"save it as `(\S+)`.*?```python\n(.*?)^```$|```python\n# (\S+\.py)\n(.*?)^```$", re.M | re.S
)
"""A file that a page shows."""
Shell = Callable[[str, Path], subprocess.CompletedProcess[str]]


def shown(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the commands of a page in the order in which they stand there, and whether each is in a block."""
    for language, block, inline in re.findall(r"^```(\w*)\n(.*?)^```$|`([^`]+)`", text, re.M | re.S):
        lines = block.splitlines() if block and not language else [" ".join(inline.split())]
        for line in lines:
            if line.startswith(PROGRAMS) and line != "python -m seqgen":
                yield line, bool(block)


FIRST = {
    line: readme for readme in reversed(READMES) for line, in_block in shown(read(readme)) if not in_block
}
"""The first page in whose text a command stands: it is run there alone, and wherever it is in a block."""
SHOWN = sorted({line for readme in READMES for line, _ in shown(read(readme))})


def commands(readme: str) -> list[str]:
    """Return the commands of a page that are run there, each once."""
    found = [line for line, in_block in shown(read(readme)) if in_block or FIRST[line] == readme]
    return [line for line in dict.fromkeys(found) if is_run(line)]


def is_run(line: str) -> bool:
    lacks = any(name in line and not find_spec(module) for name, module in NEEDS.items())
    return not (PLACEHOLDER.search(line) or line.startswith(tuple(PARSED)) or lacks)


def files_of(text: str) -> dict[str, str]:
    """Return the files of Python that a page shows, by name."""
    return {one or other: first or second for one, first, other, second in MADE.findall(text)}


def programs_of(text: str) -> list[str]:
    """Return the Python of a page that is no file, to be run from the shell."""
    shown = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    return [
        each
        for each in shown
        if each.partition("\n")[2] not in files_of(text).values() and each not in files_of(text).values()
    ]


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")


def write_files(folder: Path) -> None:
    """Make the files and folders that the pages name, all small."""
    people, things = ("a cat", "two dogs", "the old man", "a man"), ("sat", "sleep", "looked", "waited")
    places = ("on a mat .", "by a tree .", "in the rain .", "near us .", "at home , as ever .")
    lines = [" ".join(parts) for parts in product(people, things, places)]
    texts = {"captions": lines, "train": lines, "small": lines[::2], "lines": lines[::7]}
    said = [f"he said {each}" for each in lines]
    texts |= {"test": lines[::7], "samples": lines[::3], "news": said, "news_test": said[::2]}
    texts["questions"] = ["1 who is it ?", "7 who is it ?"]
    for name, content in texts.items():
        write_lines(folder / f"{name}.txt", content)
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(each, 1 + i % 5) for i, each in enumerate(lines)]
        csv.writer(file).writerows([("text", "stars"), *rows])
    rated = [f"{i}\t{(-2.1, 0.1, 2.1)[i % 3]}\t{each}\n" for i, each in enumerate(lines)]
    (folder / "movieReviewSnippets_GroundTruth.txt").write_text("".join(rated))
    for name, kind in (("names/female.txt", "names"), ("names/male.txt", "names"), ("web.log", "logs")):
        write_lines(folder / name, make(kind, 60, seed=len(name)))
    write_lines(
        folder / "poems/poems.txt", [f"{a} 山 {b} 水 。" for a, b in product("风雨花月江春秋云", repeat=2)]
    )
    for split, seed in (("train", 0), ("test", 1)):
        table = [f"{each},{split}" for each in make("molecules", 60, seed)]
        write_lines(folder / f"molecules/{split}.csv", ["SMILES,SPLIT", *table])
    answers = [{"question": f"{i} who is it ?", "answer": each} for i, each in enumerate(lines)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    np.savez(folder / "weights.npz", **oracle_arrays())
    rng = np.random.default_rng(0)
    for name, split, i in product(("mnist", "mnist-folder", "photographs"), ("train", "test"), range(60)):
        shape = (70 + i % 3, 90, 3) if name == "photographs" else (28, 28)
        place = folder / name / split / str(i % 10) / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(place)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Run a line in a shell that finds the programs of `command_server` first."""
    folder = tmp_path_factory.mktemp("server")
    make_clients(folder / "bin")
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "SEQGEN_CACHE": str(folder / "cache"),
        "HOME": str(folder),
        ADDRESS: str(folder / "socket"),
        "COLUMNS": "80",
    }
    oracle = folder / "cache/data/seqgan-oracle/seqgan_oracle_lstm.npz"
    oracle.parent.mkdir(parents=True)
    np.savez(oracle, **oracle_arrays())  # as if it had been fetched
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests/command_server.py", folder / "socket"],
        stdin=subprocess.PIPE,
        env=environment,
        cwd=folder,
    )

    def run(line: str, place: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=300,
        )

    while not (folder / "socket").exists():
        assert server.poll() is None, "the server has not begun"
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    yield run
    server.stdin.close()  # type: ignore[union-attr]
    server.wait()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Path:
    """A folder with the files that the pages name, and a run of either kind on captions."""
    folder = tmp_path_factory.mktemp("project")
    write_files(folder)
    for line in (
        "seqgen pretrain --corpus captions.txt --test test.txt --run runs/captions",
        "seqgen adversarial --init runs/captions --run runs/captions-gan",
    ):
        assert shell(line, folder).returncode == 0, line
    return folder


def failed(shell: Shell, line: str, folder: Path) -> list[str]:
    """Run a line, and return what is wrong with it."""
    ended = shell(line, folder)
    if ended.returncode:
        return [f"{line}\n    exit code {ended.returncode}: {ended.stderr[-600:]}"]
    return (
        []
        if ended.stdout or ended.stderr or not line.startswith("seqgen ")
        else [f"{line}\n    says nothing"]
    )


@pytest.mark.parametrize("readme", READMES)
def test_every_command_runs_as_pasted(readme: str, shell: Shell, project: Path, tmp_path: Path) -> None:
    text, folder = read(readme), tmp_path / "project"
    shutil.copytree(project, folder, symlinks=True)
    if "--run runs/captions-gan\n" in text:
        shutil.rmtree(folder / "runs")  # the page itself trains them
    for name, code in files_of(text).items():
        (folder / name).write_text(code, encoding="utf-8")
    wrong = [each for line in BEFORE.get(readme, []) for each in failed(shell, line, folder)]
    for line in commands(readme):
        wrong += failed(shell, line, folder)
    for number, code in enumerate(programs_of(text)):
        (folder / f"shown_{number}.py").write_text(code, encoding="utf-8")
        wrong += failed(shell, f"python shown_{number}.py", folder)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("line", [each for each in SHOWN if each.startswith("seqgen ") and not is_run(each)])
def test_what_is_not_run_is_parsed(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if not PLACEHOLDER.search(word)]
    if called(shlex.join(words))[1]:  # else the text only names the command
        assert parse(line)


@pytest.mark.parametrize("line", [each for each in SHOWN if each.startswith("torchrun --n")])
def test_what_several_processes_run_is_parsed(line: str) -> None:
    options, _, command = line.partition(" -m -- ")
    get_args_parser().parse_args([*shlex.split(options)[1:], "seqgen"])
    assert parse(command)


@pytest.mark.parametrize("line", [each for each in SHOWN if each.startswith("python tests/")])
def test_a_program_of_the_tests_has_the_options_that_are_shown(line: str) -> None:
    _, path, *arguments = shlex.split(line)
    code = read(path)
    for each in arguments:
        assert not each.startswith("--") or f'add_argument("{each}"' in code.replace("\n        ", "")


def test_every_reason_not_to_run_a_command_has_one() -> None:
    for beginning in PARSED:
        assert any(line.startswith(beginning) for line in SHOWN), beginning


def test_what_make_demo_runs(shell: Shell, tmp_path: Path) -> None:
    lines = re.findall(r"^\t\$\(BIN\)/(seqgen .*)$", read("Makefile"), re.M)
    assert len(lines) == 4
    wrong = [each for line in lines for each in failed(shell, line, tmp_path)]
    assert not wrong, "\n".join(wrong)


def test_a_block_has_commands_alone_or_none() -> None:
    for readme in READMES:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", read(readme), re.M | re.S):
            lines = [line for line in block.splitlines() if line]
            known = [line for line in lines if line.startswith(PROGRAMS)]
            assert language or not known or known == lines, block


@pytest.mark.parametrize(
    "line", ["seqgen samplee", "seqgen sample --run runs/none", "seqgen sample --nn 3 | cat"]
)
def test_what_fails_is_found(shell: Shell, tmp_path: Path, line: str) -> None:
    (found,) = failed(shell, line, tmp_path)
    assert "exit code 2: seqgen: " in found
