"""A length in minutes: the arithmetic by hand, what is timed by a clock of its own, the run that it makes."""

import json
import math
from functools import partial

import pytest
import torch
from helpers import Killed, coin_corpus, kill_at

from seqgen.core.errors import UserError
from seqgen.core.random_state import RandomStream
from seqgen.training import time_budget
from seqgen.training.loop import Medium
from seqgen.training.run_folder import Run
from seqgen.training.setup import DataConfig, adversarial_job, pretrain, pretrain_job
from seqgen.training.time_budget import Timing

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 3}
RESIDUAL = {"report_every": 3, "batch_size": 8, "candidates": 2}
RESIDUAL |= {"held_out_samples": 100, "cross_fitting": "off"}
GAN = {"discriminator_pretraining_steps": 2, "rollouts": 2, "batch_size": 4, "report_every": 3}


def test_steps_and_reports_fill_the_time():
    # 0.5 s a step and 2 s a report after every 10 are 0.7 s a step; the first and the last report are 4 s.
    timing = Timing(step=0.5, report=2.0)
    assert timing.steps_in(60.0, 10) == 80  # 56 s / 0.7 s
    assert timing.seconds_of(80, 10) == pytest.approx(60.0)
    assert timing.steps_in(4.69, 10) == 0
    assert timing.steps_in(3.0, 10) == 0


def test_steps_of_the_discriminator_alone_go_before_the_others():
    # 30 of them take 30 · (0.3 + 0.2) = 15 s; (60 - 4 - 15) / 0.7 = 58.6
    timing = Timing(step=0.5, report=2.0, first_step=0.3, first_steps=30)
    assert timing.steps_in(60.0, 10) == 88
    assert timing.seconds_of(58, 10) == pytest.approx(59.6)


class Clock:
    """Seconds that pass only in what is timed."""

    now = 0.0

    def __call__(self):
        return self.now


class Batches:
    """Batches that count."""

    step = 0

    def __next__(self):
        self.step += 1
        return torch.zeros(1)

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


class Slow:
    """Steps of a quarter of a second, an eighth while only the discriminator learns; slow to begin with."""

    def __init__(self, clock, settings):
        self.clock, self.pretraining = clock, settings["part"]["discriminator_pretraining_steps"]
        self.steps = self.reports = 0

    def learn(self, batch, progress):
        self.steps += 1
        seconds = 0.125 if self.steps <= self.pretraining else 0.25
        self.clock.now += seconds if self.steps > 2 else 7.0
        torch.rand(3)

    def evaluate(self, batches):
        self.reports += 1
        self.clock.now += 1.5 if self.reports == 1 else 0.5

    def samples(self, n):
        assert n == 5
        self.clock.now += 0.25


@pytest.mark.parametrize(("first_steps", "seconds"), [(0, 100.0), (13, 100.0), (3, 1.0), (0, 7000.0)])
def test_every_part_is_timed_and_nothing_is_left_of_it(first_steps, seconds):
    clock, batches, built = Clock(), Batches(), []
    batches.step = 17

    def make(settings):
        built.append(Slow(clock, settings))
        return built[-1], RandomStream()

    settings = {"part": {"discriminator_pretraining_steps": first_steps}, "steps": 3}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = time_budget.measure(
        make,
        settings,
        batches,
        [],
        seconds=seconds,
        first_steps=first_steps,
        device=torch.device("cpu"),
        medium=Medium("tokens", len, 5, lambda path, samples: None),
        clock=clock,
    )
    # 4 s and more, or five steps, or ten seconds; the second report is timed where the first leaves time
    report = 1.75 if seconds == 1.0 else 0.75
    assert found == Timing(0.25, report, 0.125 if first_steps else 0.0, first_steps)
    main = {100.0: 16, 1.0: 5, 7000.0: 40}[seconds]
    assert [each.steps - 2 for each in built] == [first_steps - 2, main] if first_steps else [main]
    assert settings["part"]["discriminator_pretraining_steps"] == first_steps
    assert batches.step == 17
    with RandomStream():
        assert len(before) == len(torch.get_rng_state())


def test_what_timing_takes_is_part_of_the_time():
    clock = Clock()

    def measured(*, seconds, first_steps):
        assert (seconds, first_steps) == (60.0, 0)
        clock.now += 5.0
        return Timing(step=0.5, report=2.0)

    length, (note,) = time_budget.fix_steps(1.0, None, measured, first_steps=0, report_every=10, clock=clock)
    assert length == math.floor((55 - 4) / 0.7)
    assert note == "--minutes 1: 72 steps, as a step takes 0.5 s here and a report 2 s"


def test_too_little_time_is_said_with_what_is_needed():
    timing = Timing(step=0.5, report=2.0, first_step=0.3, first_steps=30)
    fix = partial(time_budget.fix_steps, 0.3, None, first_steps=30, report_every=10)
    with pytest.raises(
        UserError, match=r"--minutes 0\.3 is too short .*: 30 steps of the discriminator alone"
    ):
        fix(lambda **given: timing)
    with pytest.raises(UserError, match=r"a step and two reports take 0\.33 minutes"):
        fix(lambda **given: timing)  # 15 + 0.7 + 4 = 19.7 s


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return coin_corpus(tmp_path / "coins.txt")


def pretraining(corpus, path, **options):
    return pretrain_job(DataConfig(corpus=corpus), values=SMALL | {"ngram.order": 3}, path=path, **options)


def against(name, path, **options):
    values = RESIDUAL if name == "residual" else GAN
    return adversarial_job("start", name, path=path, values=values, **options)


def not_again(*args, **options):
    raise AssertionError("timed again")


def kept(run):
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in run.metrics()]
    return (run.path / "model.safetensors").read_bytes(), rows


@pytest.mark.parametrize("name", ["mle", "seqgan", "residual"])
def test_it_is_the_run_of_so_many_steps_and_is_resumed_as_such(corpus, name, monkeypatch):
    if name != "mle":
        pretrain(corpus, run="start", steps=2, values=SMALL)
    make = partial(pretraining, corpus) if name == "mle" else partial(against, name)
    pre = GAN["discriminator_pretraining_steps"] if name == "seqgan" else 0
    known = Timing(step=0.5, report=1.0, first_steps=pre)  # 28 s / (1/2 + 1/3) s are 33 steps at most
    measure = time_budget.measure

    def measured(*args, **options):  # the real one, for what it leaves behind
        timing = measure(*args, **options)
        assert timing.step > 0
        assert timing.report > 0
        assert (timing.first_step > 0) == bool(pre)
        return known

    monkeypatch.setattr(time_budget, "measure", measured)
    job = make("timed", minutes=0.5)
    steps = job.plan.steps
    assert pre < steps <= pre + 33
    assert sum("--minutes 0.5" in note for note in job.notes) == 1
    job.train()
    config = json.loads((job.run.path / "config.json").read_text())
    assert (config["minutes"], config["steps"]) == (0.5, steps)
    assert config["settings"].get("steps") == (None if name == "mle" else steps - pre)
    other = make("counted", steps=steps - pre)
    other.train()
    assert other.plan == job.plan
    assert kept(other.run) == kept(job.run)
    assert "minutes" not in other.run.config

    monkeypatch.setattr(time_budget, "measure", not_again)
    again = make("timed", minutes=0.5)
    assert (again.plan.steps, again.run.config["steps"]) == (steps, steps)
    assert "--minutes" not in "".join(again.notes)
    longer = make("timed", steps=steps - pre + 3)
    assert "minutes" not in longer.run.config
    with pytest.raises(UserError, match=r"holds a run with --minutes 0\.5, not --minutes 2; give --minutes"):
        make("timed", minutes=2)
    with pytest.raises(UserError, match=r"holds a run with a length in steps, not --minutes 2; leave"):
        make("counted", minutes=2)


def test_settings_that_follow_the_length_follow_that_of_the_time(corpus, monkeypatch):
    monkeypatch.setattr(time_budget, "measure", lambda *args, **options: Timing(step=1.0, report=0.5))

    def regularisation(config):
        return config["settings"]["generator"]["dropout"], config["settings"]["weight_decay"]

    def make(path, **length):
        return pretrain_job(DataConfig(corpus=corpus), path=path, values=SMALL, **length)

    short, long, default = make("short", minutes=0.1), make("long", minutes=60), make("default")
    assert regularisation(short.run.config) == (0.0, 0.01)
    assert regularisation(long.run.config) == regularisation(make("x", steps=long.plan.steps).run.config)
    assert len({regularisation(each.run.config) for each in (short, long, default)}) == 3
    assert short.algorithm.generator.dropout.p == 0.0
    short.train()
    assert regularisation(json.loads((short.run.path / "config.json").read_text())) == (0.0, 0.01)
    for length in ({"minutes": 0.1}, {"steps": 50}):  # a run that goes on keeps to what it was begun with
        assert regularisation(make("short", **length).run.config) == (0.0, 0.01)
    short.train()  # is the same run


def test_a_damaged_configuration_is_said(tmp_path):
    existing = Run(tmp_path, {"minutes": 2.0})
    with pytest.raises(UserError, match=r"config\.json' is damaged: it has no steps"):
        time_budget.fix_steps(2.0, existing, lambda **given: None, first_steps=0, report_every=1)


def test_a_resumed_run_that_was_cut_is_the_whole(corpus, monkeypatch):
    monkeypatch.setattr(time_budget, "measure", lambda *args, **options: Timing(step=0.02, report=0.1))
    whole = pretraining(corpus, "whole", minutes=0.02)
    whole.train()
    cut = pretraining(corpus, "cut", minutes=0.02)

    with pytest.raises(Killed):
        cut.train(kill_at(7))
    monkeypatch.setattr(time_budget, "measure", not_again)
    pretraining(corpus, "cut", minutes=0.02).train()
    assert whole.plan.steps == 18  # (1.2 - 0.2) / (0.02 + 0.1 / 3) = 18.75
    assert kept(cut.run) == kept(whole.run)


@pytest.mark.cuda
def test_on_a_gpu_the_steps_are_waited_for(corpus):
    job = pretraining(corpus, "gpu", minutes=0.1, device_name="cuda")
    assert job.plan.steps > 5
    job.train()
