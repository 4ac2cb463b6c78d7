"""Commands asked to end: trainings save and resume, others leave nothing half-written; the exit codes."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from helpers import coin_corpus

from seqgen.training import run_folder

SMALL = ["--set", "generator.embedding=5", "--set", "generator.hidden=7", "--set", "batch_size=8"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def seqgen(*args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "seqgen.cli.main", *map(str, args)],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def train(corpus, name, **options):
    every = ["--set", "report_every=5", "--set", "patience=1000", "--steps", 300, "--threads", 1]
    return seqgen("pretrain", "--corpus", corpus, "--run", name, *every, *SMALL, cwd=corpus.parent, **options)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("signals") / "coins.txt"
    coin_corpus(path)
    return path


@pytest.fixture(scope="module")
def whole(corpus):
    process = train(corpus, "whole")
    assert "done: 300 steps" in process.communicate()[1]
    return corpus.parent / "whole"


@pytest.mark.parametrize("number", CODES)
def test_a_training_saves_and_the_same_command_resumes(corpus, whole, number):
    name = number.name
    process = train(corpus, name)
    lines = iter(process.stderr.readline, "")
    assert any(line.startswith("step 5/300") for line in lines)
    process.send_signal(number)
    last = list(lines)[-1]
    assert process.wait() == CODES[number]
    cut = run_folder.open_run(corpus.parent / name)
    step = run_folder.load_state(cut)["progress"]["step"]
    assert last == f"interrupted and saved at step {step}; the same command resumes\n"
    assert step < 300
    assert "done: 300 steps" in train(corpus, name).communicate()[1]
    states = [run_folder.load_state(run_folder.open_run(path)) for path in (whole, cut.path)]
    assert all(
        torch.equal(states[0]["weights"][key], states[1]["weights"][key]) for key in states[0]["weights"]
    )
    assert (whole / "model.safetensors").read_bytes() == (cut.path / "model.safetensors").read_bytes()


SLOW = """
import os, time
from pathlib import Path
from seqgen.algorithms.mle import MLE


class Slow(MLE):
    def evaluate(self, batches):
        if self.tokens_per_batch.count >= float(os.environ.get("SLOW", "inf")):
            Path("measuring").touch()
            time.sleep(600)
        return super().evaluate(batches)
"""


def train_slowly(folder, name, **options):
    (folder / "slow_reports.py").write_text(SLOW)
    command = ["pretrain", "slow_reports:Slow", "--corpus", "coins.txt", "--run", name, "--threads", 1]
    command += ["--steps", 20, "--set", "report_every=5", "--set", "patience=1000", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | options
    return seqgen(*command, cwd=folder, env=environment)


def in_the_middle_of_a_report(folder, name, step):
    (folder / "measuring").unlink(missing_ok=True)
    process = train_slowly(folder, name, SLOW=str(step))
    while not (folder / "measuring").exists():
        assert process.poll() is None
        os.sched_yield()
    return process


@pytest.mark.parametrize("step", [0, 10])
def test_a_report_under_way_is_not_waited_for(corpus, step):
    folder = corpus.parent
    process = in_the_middle_of_a_report(folder, f"slow-{step}", step)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == CODES[signal.SIGTERM]
    assert err.splitlines()[-1] == f"interrupted and saved at step {step}; the same command resumes"
    rows = run_folder.open_run(folder / f"slow-{step}").metrics()
    assert [row["step"] for row in rows] == [each for each in (0, 5) if each < step]
    assert "done: 20 steps" in train_slowly(folder, f"slow-{step}").communicate()[1]
    assert "done: 20 steps" in train_slowly(folder, "straight").communicate()[1]  # the first time only
    for name in ("model.safetensors", "samples/step-0000010.txt", "samples/step-0000020.txt"):
        assert (folder / f"slow-{step}" / name).read_bytes() == (folder / "straight" / name).read_bytes()


@pytest.mark.parametrize("number", CODES)
def test_a_command_that_writes_a_file_leaves_nothing_half_written(whole, tmp_path, number):
    (tmp_path / "lines.txt").write_text("heads tails heads\n" * 500_000)
    (tmp_path / "a.tsv").write_text("old")
    command = ["score", "lines.txt", "--run", whole, "--out", "a.tsv", "--threads", 1]
    process = seqgen(*command, cwd=tmp_path)
    while not any(path.stat().st_size for path in tmp_path.glob(".seqgen-*.tmp")):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(number)
    err = process.communicate()[1].splitlines()
    assert process.returncode == CODES[number]
    assert err[-1] == f"seqgen: interrupted ({number.name})"
    assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "lines.txt"}
    assert (tmp_path / "a.tsv").read_text() == "old"


N = 240_000


def sampling(whole, folder, **options):
    return seqgen("sample", "--run", whole, "--n", N, "--out", "a.txt", "--threads", 1, cwd=folder, **options)


@pytest.fixture(scope="module")
def samples(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    err = sampling(whole, folder).communicate()[1]
    assert "going on" not in err
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    return (folder / "a.txt").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_goes_on_with_a_file_of_samples(whole, samples, tmp_path, number):
    (tmp_path / "a.txt").write_text("old")
    process = sampling(whole, tmp_path)
    mark = tmp_path / "a.txt.part.json"
    while not (mark.exists() and json.loads(mark.read_text())["bytes"]):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(number)
    err = process.communicate()[1].splitlines()
    kept = json.loads(mark.read_text())["position"]["sentences"]
    assert 0 < kept < N
    assert process.returncode == CODES.get(number, -number)
    if number in CODES:
        said = [f"{kept:,} of 240,000 sentences are kept; the same command goes on"]
        assert err[-2:] == [*said, f"seqgen: interrupted ({number.name})"]
    assert (tmp_path / "a.txt").read_text() == "old"
    other = seqgen("sample", "--run", whole, "--n", 3, "--out", "a.txt", cwd=tmp_path)
    assert "a.txt.part' was begun with n 240000, not 3; run that command again, or" in other.communicate()[1]
    assert other.returncode == 2
    process = sampling(whole, tmp_path)
    assert f"going on from {kept:,} of 240,000 sentences\n" in process.communicate()[1]
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == samples
