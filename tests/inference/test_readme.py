"""The README on rewards: its file and its commands are run as they stand, on small networks."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqgen.cli.main import app

README = Path(__file__).resolve().parents[2] / "seqgen/inference/README.md"
SMALL = ["--set", "generator.hidden=16", "--set", "generator.embedding=8", "--steps", "30", "--quiet"]
SHORT = {
    "pretrain": SMALL,
    "adversarial": [
        "--steps",
        "2",
        "--quiet",
        "--set",
        "discriminator_pretraining_steps=1",
        "--device",
        "cpu",
    ],
    "evaluate": ["--n", "60", "--json"],
    "sample": ["--quiet"],
}


def readme_file(name: str) -> str:
    """Return the code of a file that the README shows."""
    (code,) = re.findall(rf"```python\n(# {name}\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "rewards.py").write_text(readme_file("rewards.py"), encoding="utf-8")
    return folder


def test_the_commands_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    text = README.read_text(encoding="utf-8").partition("\n# Export\n")[0]
    shown = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("seqgen ")]
    assert len(shown) == 8
    printed = []
    for command in shown:
        if any("is_short_animal" in part for part in command) and command[0] == "sample":
            command[-1] = "0"  # so small a network has no such sentence
        result = CliRunner().invoke(app, command + SHORT[command[0]])
        assert result.exit_code == 0, (command, result.output)
        printed.append(result.stdout)
    assert set(json.loads(printed[1])["functions"]) == {"is_short_animal"}
    assert len(printed[3].splitlines()) == 5
    rows = [json.loads(line) for line in Path("runs/seqgan-scenes/metrics.jsonl").read_text().splitlines()]
    assert {"user_reward", "user_reward_deviation", "kl"} <= rows[-1].keys()


def test_its_functions(folder: Path) -> None:
    names: dict = {}
    exec(readme_file("rewards.py"), names)
    sentences = ["two dogs run.", "a red car.", "a cat " + "and so " * 4 + "on."]
    assert names["is_short_animal"](sentences) == [True, False, False]
    assert names["short_animals"](sentences) == pytest.approx([1.0, 0.0, 1.0 - 0.2 * 3])
    sums = ["(1+2)*3=9", "(1+2*3=9", "1+2=4", "1-4=-3", "=3", "1+=1", "2(3)=6"]
    assert names["balanced"](sums) == [True, False, False, True, False, False, False]


def test_valid_molecules_where_rdkit_is_installed() -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    names: dict = {}
    exec(readme_file("chemistry.py"), names)
    assert names["valid"](["CCO", "C1CC"]) == [True, False]
