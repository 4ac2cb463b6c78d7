"""Labels and sources on the command line: the commands of the README of the data, and their errors."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqgen.cli.main import app

README = Path(__file__).resolve().parents[2] / "seqgen/data/README.md"
SHORT = {
    "pretrain": ["--set", "generator.hidden=16", "--steps", "60", "--device", "cpu", "--quiet"],
    "adversarial": [
        "--steps",
        "1",
        "--set",
        "discriminator_pretraining_steps=1",
        "--device",
        "cpu",
        "--quiet",
    ],
    "evaluate": ["--n", "60", "--json"],
    "sample": ["--quiet"],
    "score": ["--quiet"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    good, bad = (
        ("a fine book, chapter {}.", "I liked page {}."),
        ("a dull book, chapter {}.", "I left at page {}."),
    )
    rows = [
        f'{i},"{text.format(i)}",{stars}'
        for i in range(60)
        for stars, kind in ((5, good), (1, bad))
        for text in kind
    ]
    (folder / "reviews.csv").write_text("\n".join(["id,text,stars", *rows]), encoding="utf-8")
    pairs = [{"question": f"what is after {i}?", "answer": f"it is {i + 1}."} for i in range(90)]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (folder / "lines.txt").write_text("a fine book, chapter 3.\nI left at page 4.\n", encoding="utf-8")
    (folder / "questions.txt").write_text("what is after 5?\nwhat is after 7?\nwhat?\n", encoding="utf-8")
    return folder


def run(command: list[str]) -> str:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (command, result.output)
    return result.stdout


def test_the_commands_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    section = README.read_text(encoding="utf-8").split("## Labels, and texts to go on from")[1]
    (block,) = re.findall(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    shown = [shlex.split(line)[1:] for line in block.splitlines()]
    assert len(shown) == 10
    printed = [run(command + SHORT[command[0]]) for command in shown]
    assert len(printed[2].splitlines()) == 3
    rows = [json.loads(line) for line in printed[3].splitlines()]
    assert {row["label"] for row in rows} == {"1", "5"}
    assert sum(row["label"] == "5" for row in rows) > 10
    both, five = json.loads(printed[4]), json.loads(printed[5])
    assert 0 <= both["labels"]["accuracy"] <= 1
    assert both["real"]["labels"]["accuracy"] > 0.9
    assert five["protocol"]["references"] < both["protocol"]["references"]
    assert len(printed[6].splitlines()) == 2
    assert len(printed[8].splitlines()) == 3
    assert json.loads(printed[9])["sources"]["n"] >= 1
    table = run(["evaluate", "--run", "runs/reviews", "--n", "60", "--quiet"])
    assert "labels: fraction of the sentences" in table
    rows = [json.loads(line) for line in run([*shown[8], "--format", "jsonl", "--quiet"]).splitlines()]
    assert [row["source"] for row in rows] == (folder / "questions.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sample --run runs/reviews --label 4", "seqgen: the run has no label '4'; allowed: 1, 5"),
        ("sample --run runs/reviews --label 5 --label 5", "--label '5' is given twice; give its weight as"),
        (
            "sample --run runs/reviews --source lines.txt",
            "go on from no source; train a run with --source-column",
        ),
        ("sample --run runs/answers --label 5", "was trained without labels; train one with --label-column"),
        ("sample --run runs/answers --source questions.txt --prompt it", "leave --prompt out"),
        ("score lines.txt --run runs/reviews", "is given a label, and here they are given none"),
        ("score lines.txt --run runs/answers --label 5", "was trained without labels"),
        ("evaluate --run runs/reviews --label 4", "the run has no label '4'"),
        ("evaluate --hyp lines.txt --ref lines.txt --label 4", "--label is for a run with labels"),
        ("pretrain --corpus reviews.csv --column text --label-column id --run runs/x", ""),
        ("pretrain --corpus lines.txt --label-column stars --run runs/y", "has no column 'stars'"),
        (
            "pretrain --corpus reviews.csv --label-column stars --source-column id --run runs/y",
            "a label or a source, not both",
        ),
    ],
)
def test_errors_are_one_line(
    folder: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    monkeypatch.chdir(folder)
    if not (folder / "runs/answers").exists():
        test_the_commands_of_the_readme(folder, monkeypatch)
    if not message:
        monkeypatch.setattr("seqgen.training.data_config.MOST_LABELS", 50)
        message = "column 'id' has 60 different values; labels are at most 50"
    code, _, err = cli(*shlex.split(command))
    assert code == 2
    assert message in err
    assert [line for line in err.splitlines() if line.startswith("seqgen: ")] == [err.splitlines()[-1]]
