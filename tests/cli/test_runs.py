"""`seqgen runs`: finished, unfinished, early stopped and damaged runs, the newest first; table and JSON."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Killed, coin_corpus, kill_at

from seqgen.cli import runs as command
from seqgen.image.runs import setup as images
from seqgen.training import run_folder, run_list
from seqgen.training.setup import DataConfig, pretrain_job

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 2}
NOW = 1_800_000_000.0
AGES = {"finished": 30.0, "cut": 400.0, "stopped": 7_300.0, "pictures": 90_000.0, "begun": 200_000.0}
"""Names of the runs, and seconds since they were last written."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, each at another point of its training."""
    project = tmp_path_factory.mktemp("project")
    corpus = DataConfig(corpus=coin_corpus(project / "coins.txt"))
    folder = project / "runs"
    pretrain_job(corpus, path=folder / "finished", values=SMALL, steps=4).train()
    with pytest.raises(Killed):
        pretrain_job(corpus, path=folder / "cut", values=SMALL, steps=5).train(kill_at(3))
    idle = SMALL | {"lr": 0.0, "patience": 1, "calibration": 0.0}
    pretrain_job(corpus, "mle", path=folder / "stopped", values=idle, steps=9).train()
    images.train(run=folder / "pictures", steps=2, values={"batch_size": 32, "net.hidden": 11})
    begun = pretrain_job(corpus, path=folder / "begun", values=SMALL, steps=7)
    run_folder.create(begun.run.path, begun.run.config)
    (folder / "notes").mkdir()
    (folder / "notes/todo.txt").write_text("no run")
    assert (folder / "latest").is_symlink()
    for name in AGES:
        touch(folder / name)
    return folder


def touch(path: Path, age: float | None = None) -> None:
    for part in path.iterdir():
        then = NOW - (AGES[path.name] if age is None else age)
        os.utime(part, (then, then))


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(trained.parent, tmp_path / "project", symlinks=True)
    return tmp_path / "project/runs"


def by_name(folder: Path) -> dict[str, run_list.Listed]:
    return {each.path.name: each for each in run_list.in_folder(folder)}


def test_the_table(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_name(trained)
    best = {name: run_folder.open_run(trained / name).metrics() for name in AGES}
    least = {
        name: min((row["valid_nll"] for row in rows), default=0.0) for name, rows in list(best.items())[:3]
    }
    pictured = min(row["valid_loss"] for row in best["pictures"])
    assert list(found) == list(AGES)
    expected = [
        ["run", "algorithm", "corpus", "steps", "best", "age"],
        ["finished", "mle", "coins", "4", f"valid_nll {least['finished']:.4g}", "now", "done"],
        ["cut", "mle", "coins", "2 of 5", f"valid_nll {least['cut']:.4g}", "6 min", "unfinished"],
        ["stopped", "mle", "coins", "2", f"valid_nll {least['stopped']:.4g}", "2 h", "stopped"],
        ["pictures", "vae", "digits", "2", f"valid_loss {pictured:.4g}", "1 day", "done"],
        ["begun", "mle", "coins", "0 of 7", "2 days", "unfinished"],
    ]
    lines = command.table(list(found.values()), now=NOW).splitlines()
    assert [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines] == expected
    assert len({line.rindex(cells[-1]) for line, cells in zip(lines[1:], expected[1:], strict=True)}) == 1


def test_json_and_the_command(cli: Any, trained: Path, tmp_path: Path) -> None:
    code, out, err = cli("runs", trained, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["state"] for row in rows] == ["finished", "unfinished", "finished", "finished", "unfinished"]
    assert rows[0] == {
        "path": str(trained / "finished"),
        "changed": "2027-01-15T07:59:30+00:00",  # 30 s before 1.8e9
        "algorithm": "mle",
        "corpus": str(trained.parent / "coins.txt"),
        "step": 4,
        "steps": 4,
        "metric": "valid_nll",
        "best": rows[0]["best"],
        "ended": "done: 4 steps",
        "damage": "",
        "state": "finished",
    }
    assert rows[2]["ended"].startswith("stopped: valid_nll has not improved on ")
    shutil.copytree(trained, tmp_path / "runs", symlinks=True)
    code, out, err = cli("runs")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["run", *AGES]
    code, out, err = cli("runs", "runs/cut")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["run", "cut"]


def test_a_folder_without_runs_and_one_that_is_not_there(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cli("runs", "empty") == (0, "", "no run in 'empty'; train one with: seqgen pretrain\n")
    assert cli("runs", "empty", "--json") == (0, "[]\n", "")
    code, out, err = cli("runs")
    assert (code, out) == (2, "")
    assert err == (
        "seqgen: no folder 'runs'; name one that holds runs, or train a first run with: seqgen pretrain\n"
    )


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    torch.save({"progress": {"step": "two"}}, path)


@pytest.mark.parametrize(
    ("name", "part", "damage", "reason"),
    [
        ("finished", "config.json", halve, "config.json' is not a seqgen configuration"),
        ("finished", "config.json", Path.unlink, "is not a run folder: it has no config.json"),
        ("finished", "state.pt", halve, "state.pt' is corrupt"),
        ("finished", "state.pt", foreign, "in place of|step="),
        ("finished", "model.safetensors", halve, "model.safetensors is corrupt"),
        ("finished", "model.safetensors", Path.unlink, "it has no model.safetensors"),
        ("finished", "tokenizer.json", Path.unlink, "it has no tokenizer.json"),
        ("pictures", "model.safetensors", halve, "model.safetensors is corrupt"),
    ],
)
def test_a_damaged_run_is_listed_as_such_beside_the_others(
    folder: Path, name: str, part: str, damage: Any, reason: str
) -> None:
    damage(folder / name / part)
    touch(folder / name)
    found = by_name(folder)
    assert list(found) == list(AGES)
    assert [each.path.name for each in found.values() if each.damage] == [name]
    assert any(each in found[name].damage for each in reason.split("|"))
    line = command.table([found[name]], now=NOW).splitlines()[1]
    assert line.startswith(name)
    assert f"damaged: {found[name].damage}" in line
    assert "\n" not in found[name].damage


def test_the_tensors_of_a_checkpoint_are_not_read(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(path: Path) -> None:
        raise AssertionError(f"{path} is read whole")

    monkeypatch.setattr(run_folder, "_check_readable", whole)
    state = run_folder.load_state(run_folder.open_run(trained / "finished"), mapped=True)
    assert state is not None
    assert state["progress"]["step"] == 4
    assert by_name(trained)["finished"].step == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (59, "now"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 day"),
    ],
)
def test_an_age_is_by_its_largest_unit(seconds: float, text: str) -> None:
    assert command.age(seconds) == text


def test_the_metric_is_the_one_whose_least_value_is_the_best() -> None:
    rows = [{"step": 0, "valid_nll": 3.0, "nll": 0.5}, {"step": 5, "valid_nll": 2.0, "valid_loss": 0.5}]
    assert run_list._monitored(rows, 0.5) == "valid_loss"
    assert run_list._monitored(rows, 2.0) == "valid_nll"
    assert run_list._monitored(rows, None) is None
