"""The README of the algorithms builds one from nothing; its code and its commands are run as they stand."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import seqgen
from seqgen.cli.main import app

README = Path(__file__).resolve().parents[2] / "seqgen/algorithms/README.md"


@pytest.fixture
def bigram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's file in an empty folder, which is the current one."""
    (code,) = re.findall(
        r"```python\n(\"\"\"A bigram model.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "bigram.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bigram", raising=False)
    yield tmp_path
    sys.modules.pop("bigram", None)


def commands() -> list[list[str]]:
    text = README.read_text(encoding="utf-8")
    return [
        shlex.split(line)[1:] for line in text.splitlines() if line.startswith("seqgen ") and "bigram" in line
    ]


def test_the_commands_of_the_readme(bigram: Path) -> None:
    shown = commands()
    assert [command[0] for command in shown] == ["pretrain", "sample", "evaluate"]
    short = {"pretrain": ["--steps", "150", "--quiet"], "sample": [], "evaluate": ["--n", "30"]}
    printed = {}
    for command in shown:
        result = CliRunner().invoke(app, command + short[command[0]])
        assert result.exit_code == 0, result.output
        printed[command[0]] = result.stdout
    assert len(printed["sample"].splitlines()) == 5
    rows = [json.loads(line) for line in (bigram / "runs/bigram/metrics.jsonl").read_text().splitlines()]
    # The unigram entropy of `scenes` is above 4 nats a token; a bigram model is well below it.
    assert rows[0]["valid_nll"] > 6
    assert rows[-1]["valid_nll"] < 3
    assert "valid" in printed["evaluate"]


def test_a_run_of_the_readmes_code_is_not_loaded_unless_trusted_and_unchanged(bigram: Path) -> None:
    seqgen.pretrain("expressions", "bigram:Bigram", run="run", steps=2)
    config = json.loads(Path("run/config.json").read_text())
    assert len(config["code_hash"]) == 64
    with pytest.raises(seqgen.UserError, match=r"names code outside seqgen, 'bigram:Bigram'.*--trust"):
        seqgen.load("run")
    assert seqgen.load("run", given="bigram:Bigram").algorithm.generator.vocab_size == config["vocab_size"]
    (bigram / "bigram.py").write_text("# changed\n" + (bigram / "bigram.py").read_text())
    with pytest.raises(seqgen.UserError, match="not what it was when 'run' was trained"):
        seqgen.load("run", given="bigram:Bigram")
    assert seqgen.load("run", trust=True)
