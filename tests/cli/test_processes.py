"""Commands that `torchrun` starts in several processes: they do what one does, and say it once."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from distributed_trials import PROCESSES, start
from helpers import coin_corpus

from seqgen.cli import processes
from seqgen.core import launcher
from seqgen.core.errors import UserError
from seqgen.training import run_folder

SEQGEN = [sys.executable, "-m", "seqgen.cli.main"]
SETTINGS = ("generator.embedding=5", "generator.hidden=7", "batch_size=8", "report_every=5", "patience=1000")
STEPS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text, and a training of one process in `whole`."""
    found = tmp_path_factory.mktemp("processes")
    coin_corpus(found / "coins.txt")
    assert f"done: {STEPS} steps" in alone(found, "whole").communicate()[1]
    return found


def training(name):
    options = [each for setting in SETTINGS for each in ("--set", setting)]
    command = ["pretrain", "--corpus", "coins.txt", "--run", name, "--steps", str(STEPS), "--threads", "1"]
    return [*SEQGEN, *command, *options]


def alone(folder, name):
    return subprocess.Popen(training(name), cwd=folder, stderr=subprocess.PIPE, text=True)


def wait_for_step(process, step):
    """Read what a training says until the report after a step; return the rest of it as it comes."""
    lines = iter(process.stderr.readline, "")
    assert any(line.startswith(f"step {step}/{STEPS}") for line in lines)
    return lines


def test_a_training_goes_on_with_another_number_of_processes(folder):
    # Two processes, of which the one that is silent is asked to end: both do, after the same step.
    first, second = start(training("moved"), cwd=folder)
    lines = wait_for_step(first, 20)
    second.send_signal(signal.SIGTERM)
    said = list(lines)
    assert (first.wait(), second.wait()) == (143, 143)
    assert second.stderr.read() == ""
    step = run_folder.load_state(run_folder.open_run(folder / "moved"))["progress"]["step"]
    assert said[-1] == f"interrupted and saved at step {step}; the same command resumes\n"
    assert 20 <= step < STEPS

    # One process, which is asked to end.
    process = alone(folder, "moved")
    lines = wait_for_step(process, 60)
    process.send_signal(signal.SIGTERM)
    list(lines)
    assert process.wait() == 143

    # Two processes, of which one is killed.
    first, second = start(training("moved"), cwd=folder)
    lines = wait_for_step(first, 100)
    second.kill()
    killed = time.monotonic()
    said = [line for line in lines if line.startswith("seqgen: ")]
    assert first.wait() == 2
    assert time.monotonic() - killed < 20
    assert len(said) == 1
    assert said[0].startswith("seqgen: another of the processes has ended")

    # One process again, to the end.
    assert f"done: {STEPS} steps" in alone(folder, "moved").communicate()[1]
    moved, whole = (run_folder.open_run(folder / name) for name in ("moved", "whole"))
    left_out = {"seconds", "tokens_per_second"}
    for mine, theirs in zip(moved.metrics(), whole.metrics(), strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - left_out:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-2), name
    mine, theirs = (run_folder.load_state(run) for run in (moved, whole))
    assert mine["progress"]["step"] == theirs["progress"]["step"] == STEPS
    assert torch.equal(mine["rng"], theirs["rng"])
    for name, weight in theirs["weights"].items():
        torch.testing.assert_close(mine["weights"][name], weight, rtol=1e-2, atol=1e-2, msg=name)


def test_samples_are_those_of_one_process(folder):
    options = "--run whole --n 40 --seed 3 --format jsonl --threads 1"
    asked = [*SEQGEN, "sample", *options.split()]
    subprocess.run([*asked, "--out", "one.jsonl"], cwd=folder, capture_output=True, check=True)
    running = start([*asked, "--out", "two.jsonl"], cwd=folder)
    first, silent = (each.communicate(timeout=120) for each in running)
    assert [each.returncode for each in running] == [0, 0], first
    assert first[0] == ""
    assert silent == ("", "")
    theirs, mine = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(theirs) == 40
    assert [each["text"] for each in mine] == [each["text"] for each in theirs]
    log_probs = ([each["log_prob"] for each in rows] for rows in (mine, theirs))
    assert next(log_probs) == pytest.approx(next(log_probs), rel=1e-4)


def test_a_file_of_samples_is_gone_on_with_by_several_processes(folder):
    options = "--run whole --n 60000 --seed 3 --threads 1 --out many.txt"
    asked = [*SEQGEN, "sample", *options.split()]
    subprocess.run([*asked[:-1], "whole.txt"], cwd=folder, capture_output=True, check=True)
    stopped = subprocess.Popen(asked, cwd=folder, stderr=subprocess.PIPE, text=True)
    part = folder / "many.txt.part"
    while not part.exists() or part.stat().st_size < 60_000:  # a batch has some 10,000 bytes
        assert stopped.poll() is None
        time.sleep(0.001)
    stopped.send_signal(signal.SIGTERM)
    said = stopped.communicate()[1]
    assert "of 60,000 sentences are kept; the same command goes on" in said
    first, silent = (each.communicate(timeout=120) for each in start(asked, cwd=folder))
    assert "going on from" in first[1]
    assert silent == ("", "")
    assert (folder / "many.txt").read_text() == (folder / "whole.txt").read_text()


@pytest.mark.cuda
@pytest.mark.parametrize("count", [1, PROCESSES])
def test_a_training_on_gpus_by_torchrun(folder, count):
    if torch.cuda.device_count() < count:
        pytest.skip("needs a GPU for each process")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "-m", "--"]
    command = [*torchrun, "seqgen.cli.main", *training(f"gpus-{count}")[3:], "--device", "cuda"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mine, theirs = (run_folder.open_run(folder / name).metrics()[-1] for name in (f"gpus-{count}", "whole"))
    assert mine["step"] == STEPS
    assert mine["valid_nll"] == pytest.approx(theirs["valid_nll"], rel=0.1)


def test_commands_of_one_process_are_refused(monkeypatch):
    processes.check_command("report")
    for name in launcher.SAID:
        monkeypatch.setenv(name, str(PROCESSES))
    for name in (None, *processes.COMMANDS):
        processes.check_command(name)
    with pytest.raises(
        UserError, match="'seqgen report' is a command of one process, and torchrun has start"
    ):
        processes.check_command("report")
    with pytest.raises(UserError, match="'seqgen image evaluate' is a command of one process"):
        processes.check_command("evaluate", ("train",), group="image ")
