"""Trainings whose time is known: seconds of several processes, of one that was killed, and of folds."""

import json
import signal

import pytest
import torch
from helpers import write_lines

from seqgen.bench import trainings
from seqgen.training.data_config import DataConfig
from seqgen.training.loop import Interrupted
from seqgen.training.setup import adversarial_job, pretrain_job

VALUES = {"generator.embedding": 5, "generator.hidden": 7, "generator.dropout": 0.0, "report_every": 3}


class Killed(BaseException):
    pass


@pytest.fixture
def ticking(monkeypatch):
    """A clock that stands until it is moved on."""
    time = {"now": 100.0}
    monkeypatch.setattr(trainings, "clock", lambda device: lambda: time["now"])
    return time


def job(tmp_path, steps=10):
    lines = [f"{a} {b} {c}" for a in "abc" for b in "defg" for c in "hijkl"]
    corpus = write_lines(tmp_path / "corpus.txt", lines)
    data = DataConfig(corpus=str(corpus))
    return pretrain_job(data, path=tmp_path / "r", steps=steps, values=VALUES, device_name="cpu")


def a_second_each(made, time, *, killed_at=None):
    """Let each step of a training take a second, and end its process in the middle of one."""
    step = made.algorithm.step

    def timed(batch, progress):
        time["now"] += 1.0
        timed.count += 1
        if timed.count == killed_at:
            raise Killed
        return step(batch, progress)

    timed.count = 0
    made.algorithm.step = timed
    return made


def test_the_seconds_of_all_processes_are_added_up(tmp_path, ticking):
    with pytest.raises(Killed):
        trainings.train(a_second_each(job(tmp_path), ticking, killed_at=8))
    ticking["now"] += 500.0
    done, seconds = trainings.train(a_second_each(job(tmp_path), ticking))
    assert done.step == 10
    assert seconds == 10.0  # six to the last report, and four
    assert json.loads((tmp_path / "r" / trainings.SECONDS).read_text())["seconds"] == 10.0


def test_what_a_process_took_until_it_was_interrupted_counts(tmp_path, ticking):
    made = a_second_each(job(tmp_path), ticking)
    step = made.algorithm.step

    def interrupted(batch, progress):
        if ticking["now"] == 107.0:
            signal.raise_signal(signal.SIGINT)
        return step(batch, progress)

    made.algorithm.step = interrupted
    with pytest.raises(Interrupted):
        trainings.train(made)
    done, seconds = trainings.train(a_second_each(job(tmp_path), ticking))
    assert (done.step, seconds) == (10, 10.0)  # eight, and two


def test_the_generators_of_folds_count(tmp_path, ticking):
    start = job(tmp_path)
    start.train()
    values = {"cross_fitting": "on", "folds": 2, "report_every": 2, "held_out_samples": 100, "batch_size": 8}
    made = a_second_each(adversarial_job(start.run, path=tmp_path / "e", steps=3, values=values), ticking)
    made.folds = [lambda make=make: a_second_each(make(), ticking) for make in made.folds]
    done, seconds = trainings.train(made)
    assert (done.step, seconds) == (3, 13.0)  # two of 5 steps, and 3


def test_clocks_are_those_of_the_device():
    first = trainings.clock(torch.device("cpu"))()
    sum(i * i for i in range(200_000))
    assert trainings.clock(torch.device("cpu"))() > first
