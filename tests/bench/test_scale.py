"""The benchmark of whole commands: what a process took, growth, what is kept, and commands that run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seqgen.bench import scale
from seqgen.cli import main
from seqgen.cli.bench import app
from seqgen.core.errors import UserError
from seqgen.corpora import load

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = [sys.executable, "-I", "-S", str(ROOT / "seqgen/bench/child_usage.py")]
BUSY = """
import time
block = bytearray({mib} << 20)
while time.process_time() < {seconds}:
    pass
"""


def took(code: str) -> dict[str, float]:
    done = subprocess.run([*LAUNCHER, sys.executable, "-c", code], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_what_a_process_took() -> None:
    small, large = took(BUSY.format(mib=3, seconds=0.3)), took(BUSY.format(mib=103, seconds=0.0))
    assert large["peak_mib"] - small["peak_mib"] == pytest.approx(100, abs=5)
    assert small["peak_mib"] < 50  # not the memory of this process, which has imported torch
    assert 0.3 <= small["cpu_seconds"] < 0.6
    assert small["seconds"] >= small["cpu_seconds"] - 0.02
    assert large["cpu_seconds"] < small["cpu_seconds"]


def test_the_status_of_a_process_and_the_signal_to_end_are_passed_on() -> None:
    assert subprocess.run([*LAUNCHER, sys.executable, "-c", "exit(3)"], check=False).returncode == 3
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen([*LAUNCHER, *waiting], stdout=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("no /proc that names the children of a process")
    while not (child := children.read_text().split()):
        os.sched_yield()
    while b"-I" in Path(f"/proc/{child[0]}/cmdline").read_bytes().split(b"\0"):  # it is no other program yet
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == signal.SIGTERM
    assert not Path(f"/proc/{child[0]}").exists()


class Measured:
    """In place of a process: its time is the square of the number of lines, its memory constant."""

    def __init__(self, fail_at: str = "") -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at

    def __call__(self, arguments: Sequence[str], folder: Path, threads: int) -> dict[str, Any]:
        self.calls.append(" ".join(arguments))
        if self.fail_at and self.fail_at in self.calls[-1]:
            raise KeyboardInterrupt
        sizes = [int(each) for each in re.findall(r"\d{2,}", self.calls[-1])]
        for run in re.findall(r"--run (runs/model\S*)", self.calls[-1]):
            (folder / run).mkdir(parents=True, exist_ok=True)
        return {"seconds": 7.0, "cpu_seconds": 1e-6 * max(sizes, default=30) ** 2, "peak_mib": 311.0}


def test_growth_is_the_exponent_between_two_sizes(tmp_path: Path) -> None:
    rows = scale.run(tmp_path, sizes=[3000, 500], steps=17, tasks=["pretrain"], measure=Measured())
    assert [(row["task"], row["size"]) for row in rows] == [
        (name, size)
        for size in (500, 3000)
        for name in ("pretrain, new text", "pretrain, 1 step", "pretrain, 17 steps")
    ]
    for row in rows[:3]:
        assert (row["cpu_seconds_growth"], row["peak_mib_growth"]) == (None, None)
    for row in rows[3:]:
        assert row["cpu_seconds_growth"] == pytest.approx(2.0)
        assert row["peak_mib_growth"] == 0.0
    assert rows[-1]["cpu_seconds"] == 9.0


def test_sizes_of_sampling_and_evaluation(tmp_path: Path) -> None:
    measured = Measured()
    tasks = ["sample", "evaluate"]
    rows = scale.run(tmp_path, sizes=[2000, 3000, 9000], tasks=tasks, measure=measured)
    assert [(row["task"], row["size"]) for row in rows] == [
        *(("sample", size) for size in (200, 300, 900)),
        *((name, size) for size in (40, 90) for name in ("evaluate", "evaluate --train")),
    ]
    assert measured.calls[0].startswith("pretrain --corpus scenes --steps 200 --run runs/model-in-training")
    assert measured.calls[1] == "sample --run runs/model --n 200 --out samples.txt --quiet"
    assert measured.calls[-1] == "evaluate --hyp hyp-90.txt --ref ref-90.txt --quiet --train train-90.txt"
    texts = [(tmp_path / f"{name}-90.txt").read_text().splitlines() for name in ("hyp", "ref", "train")]
    assert [len(lines) for lines in texts] == [90, 90, 90]
    assert len({tuple(lines) for lines in texts}) == 3


def test_a_text_is_that_of_the_grammar_and_begins_as_any_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CHUNK", 7)
    for lines in (17, 30):
        scale.Text(f"{lines}.txt", lines, seed=3).make(tmp_path)
    short, long = ((tmp_path / name).read_text().splitlines() for name in ("17.txt", "30.txt"))
    assert (len(short), len(long)) == (17, 30)
    assert long[:17] == short
    assert len(set(long)) > 25
    grammar = load("scenes")
    assert all(map(grammar.valid, long))
    assert long[7:14] == grammar.sample(7, 4)


def test_what_was_measured_is_kept_and_what_was_interrupted_begins_anew(tmp_path: Path) -> None:
    run = {"sizes": [500], "steps": 17, "tasks": ["pretrain", "start"]}
    killed = Measured(fail_at="--steps 17")
    with pytest.raises(KeyboardInterrupt):
        scale.run(tmp_path, measure=killed, **run)
    half = tmp_path / "runs/steps-500"
    half.mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    measured = Measured()
    rows = scale.run(tmp_path, measure=measured, **run)
    assert len(rows) == 5
    assert "--steps 17" in measured.calls[0]
    assert not half.exists()
    assert (tmp_path / "cache").exists()  # which only a text that was never seen begins without
    assert scale.run(tmp_path, measure=Measured(fail_at="-"), **run) == rows
    with pytest.raises(UserError, match=r"holds a benchmark with sizes=\[500\], not \[600\]"):
        scale.run(tmp_path, **(run | {"sizes": [600]}))


def test_the_start_of_a_command_is_a_median(tmp_path: Path) -> None:
    seconds = iter([9.0, 1.0, 3.0, 2.0, 8.0])

    def measure(arguments: Sequence[str], folder: Path, threads: int) -> dict[str, Any]:
        return {"seconds": next(seconds), "cpu_seconds": 1.0, "peak_mib": 5.0}

    (task, _) = scale._starts()
    assert scale._result(task, tmp_path, 1, measure)["seconds"] == 3.0


def test_the_demo_is_that_of_the_makefile() -> None:
    shown = re.findall(r"^\t\$\(BIN\)/seqgen (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert [command for _, command in scale.DEMO] == shown[:2]


def test_the_synthetic_task_is_three_commands_that_follow_one_another(tmp_path: Path) -> None:
    for name in ("cache", "runs/synthetic", "runs/synthetic-gan"):
        (tmp_path / name).mkdir(parents=True)
    there: list[list[str]] = []

    def measure(arguments: Sequence[str], folder: Path, threads: int) -> dict[str, Any]:
        there.append(sorted(path.name for path in (folder / "runs").iterdir()))
        assert (folder / "cache").exists() == (len(there) > 1)
        for name in ("cache", arguments[arguments.index("--run") + 1]):
            (folder / name).mkdir(exist_ok=True)
        return {"seconds": 7.0, "cpu_seconds": 5.0, "peak_mib": 311.0}

    rows = scale.run(tmp_path, tasks=["synthetic"], measure=measure)
    assert [row["task"] for row in rows] == [name for name, _ in scale.SYNTHETIC]
    assert there == [["synthetic-gan"], ["synthetic"], ["synthetic", "synthetic-gan"]]


def test_the_synthetic_task_has_the_settings_of_the_paper() -> None:
    pretrain, adversarial, _ = (command.split() for _, command in scale.SYNTHETIC)
    shown = [CliRunner().invoke(main.app, [*each, "--settings"]).stdout for each in (pretrain, adversarial)]
    for setting in ("embedding=32", "hidden=32", "layers=1", "cell=lstm"):
        assert f"\ngenerator.{setting} " in shown[0]
    assert "\npolicy.rollouts=16 " in shown[1]
    assert adversarial[adversarial.index("--steps") + 1] == "150"


def test_a_command_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"'seqgen runs --jsonn' failed in '.*': seqgen: No such option: --js"
    ):
        scale._measure(["runs", "--jsonn"], tmp_path, 1)


def test_the_command_measures_real_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scale, "STARTS", 1)
    monkeypatch.setattr(scale, "MODEL_STEPS", 1)
    monkeypatch.setattr(scale, "GRAMMAR", "expressions")
    command = ["scale", "--quick", "--sizes", "600", "--tasks", "sample,start", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout)
    assert results["threads"] == 1
    rows = {row["task"]: row for row in results["rows"]}
    assert list(rows) == ["sample", "--help", "sample, 20"]
    folder = tmp_path / "runs/bench-scale-quick"
    assert len((folder / "samples.txt").read_text().splitlines()) == 60
    assert rows["--help"]["peak_mib"] < 0.5 * rows["sample, 20"]["peak_mib"]  # it imports no torch
    assert 0 < rows["--help"]["cpu_seconds"] < rows["sample, 20"]["cpu_seconds"]
    table = (folder / "table.txt").read_text().splitlines()
    assert re.match(r"(AVX|DEFAULT|NO AVX|NEON|SVE|ZVECTOR|VSX).*, 1 thread, torch \d", table[0])
    assert table[1].split("  ")[0] == "task"
    assert len(table) == 5
    assert json.loads((folder / "results.json").read_text()) == results
    started = time.perf_counter()
    again = CliRunner().invoke(app, command)
    assert json.loads(again.stdout) == results
    assert time.perf_counter() - started < 5
    assert CliRunner().invoke(app, ["scale", "--tasks", "sampel"]).exception is not None
