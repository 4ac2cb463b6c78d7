"""The loop on a small algorithm: bit-identical resume, reports that change nothing, the best weights kept."""

import itertools
import json
import os
import signal
import threading

import pytest
import torch
from helpers import Killed, batch, build, examples, kill_at, same, weights
from torch import nn

from seqgen.core.atomic_files import write_text
from seqgen.core.random_state import RandomStream
from seqgen.training import loop, run_folder
from seqgen.training.loop import Interrupted, Plan
from seqgen.training.run_folder import Run

T, V = 5, 7


def write(path, samples):
    write_text(path.with_suffix(".txt"), str(samples.tolist()))


MEDIUM = loop.Medium(unit="tokens", count=lambda batch: batch.numel(), shown=2, write=write)


class Counting:
    """Batches whose content is their index, with a state."""

    def __init__(self):
        self.index = 0

    def __next__(self):
        self.index += 1
        rng = torch.Generator().manual_seed(self.index)
        return torch.randint(1, V, (3, T), generator=rng)

    @property
    def epoch(self):
        return self.index / 11

    def state_dict(self):
        return {"index": self.index}

    def load_state_dict(self, state):
        self.index = state["index"]


class Toy(nn.Module):
    """Dropout and Adam: both random state and optimiser state matter."""

    monitor = "valid_loss"

    def __init__(self, valid=None, stop_at=None):
        super().__init__()
        self.net = nn.Sequential(nn.Embedding(V, 4), nn.Dropout(0.5), nn.Linear(4, V))
        self.optimizers = {"net": torch.optim.Adam(self.parameters(), lr=0.1)}
        self.valid = valid
        self.stop_at = stop_at
        self.seen = []

    def learn(self, batch, progress):
        return self.step(batch, progress)

    def step(self, batch, progress):
        loss = nn.functional.cross_entropy(self.net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        self.optimizers["net"].zero_grad()
        loss.backward()
        self.optimizers["net"].step()
        self.seen.append(progress)
        return {"loss": loss.detach()}

    def evaluate(self, batches):
        torch.rand(13)  # a report draws random numbers
        return {"valid_loss": next(self.valid)} if self.valid else {"drawn": torch.rand(()).item()}

    def samples(self, n):
        return torch.randint(1, V, (n, T))

    def should_stop(self, report, first):
        return f"seen {report['step']}" if self.stop_at and report["step"] >= self.stop_at else None


def train(folder, *, steps, report_every=4, checkpoint_every=4, patience=None, toy=None, observe=None):
    torch.manual_seed(3)
    algorithm = toy or Toy()
    made = run_folder.create(folder, {"algorithm": "toy"})
    plan = Plan(steps, report_every, checkpoint_every, patience, seed=17)
    options = {"observe": observe} if observe else {}
    progress = loop.train(
        algorithm,
        Counting(),
        [],
        made,
        plan,
        device=torch.device("cpu"),
        medium=MEDIUM,
        **options,
    )
    return algorithm, made, progress


def without_times(made):
    return [{k: v for k, v in row.items() if "second" not in k} for row in made.metrics()]


@pytest.mark.parametrize("killed_at", [1, 5, 6, 11])
def test_a_killed_run_resumes_bit_identically(tmp_path, killed_at):
    whole, whole_run, _ = train(tmp_path / "whole", steps=13)
    with pytest.raises(Killed):
        train(tmp_path / "cut", steps=13, observe=kill_at(killed_at))
    resumed, cut_run, progress = train(tmp_path / "cut", steps=13)
    assert progress.step == 13
    assert len(resumed.seen) == 13 - killed_at // 4 * 4
    assert same(whole, resumed)
    assert without_times(whole_run) == without_times(cut_run)
    for path in sorted((whole_run.path / "samples").iterdir()):
        assert path.read_text() == (cut_run.path / "samples" / path.name).read_text()


def test_reporting_more_often_does_not_change_training(tmp_path):
    rare, _, _ = train(tmp_path / "rare", steps=10, report_every=5)
    often, _, _ = train(tmp_path / "often", steps=10, report_every=2)
    assert same(rare, often)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_resumes(tmp_path, number):
    whole, _, _ = train(tmp_path / "whole", steps=9)

    def interrupt(progress, report):
        if progress.step == 6:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train(tmp_path / "cut", steps=9, observe=interrupt)
    assert (caught.value.step, caught.value.signal_number) == (6, number)
    assert signal.getsignal(number) is before
    resumed, _, _ = train(tmp_path / "cut", steps=9)
    assert len(resumed.seen) == 3
    assert same(whole, resumed)


class BreaksOff(Toy):
    """A signal comes in the middle of the report after a step; what it has changed so far is a buffer."""

    def __init__(self, at=None, number=signal.SIGTERM):
        torch.manual_seed(5)
        super().__init__()
        self.at, self.number = at, number
        self.register_buffer("scale", torch.ones(()))

    def evaluate(self, batches):
        self.scale += 1.0
        if len(self.seen) == self.at:
            os.kill(os.getpid(), self.number)
            raise AssertionError("the report goes on")
        return super().evaluate(batches) | {"scale": float(self.scale)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_signal_does_not_wait_for_a_report_and_the_same_command_makes_it(tmp_path, at, number):
    whole, whole_run, _ = train(tmp_path / "whole", steps=9, toy=BreaksOff())
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train(tmp_path / "cut", steps=9, toy=BreaksOff(at, number))
    assert (caught.value.step, caught.value.signal_number) == (at, number)
    assert signal.getsignal(number) is before
    written = [row["step"] for row in Run(tmp_path / "cut", {}).metrics()]
    assert written == [step for step in (0, 4, 8, 9) if step < at]
    assert [path.stem for path in sorted((tmp_path / "cut").glob("samples/*"))] == [
        f"step-{step:07d}" for step in written
    ]
    resumed, cut_run, progress = train(tmp_path / "cut", steps=9, toy=BreaksOff())
    assert progress.finished == "done: 9 steps"
    assert len(resumed.seen) == 9 - at
    assert same(whole, resumed)
    assert without_times(whole_run) == without_times(cut_run)
    assert [row["scale"] for row in whole_run.metrics()] == [2.0, 3.0, 4.0, 5.0]
    for name in ("model.safetensors", "samples/step-0000009.txt"):
        assert (whole_run.path / name).read_bytes() == (cut_run.path / name).read_bytes()
    again, _, _ = train(tmp_path / "cut", steps=9, toy=BreaksOff(at=0))  # it is done: no report more
    assert again.seen == []


def test_a_signal_in_the_step_before_a_report_comes_before_the_report(tmp_path):
    toy = BreaksOff(at=4)
    step = toy.step

    def interrupted(batch, progress):
        if len(toy.seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch, progress)

    toy.step = interrupted
    with pytest.raises(Interrupted, match="step 4"):
        train(tmp_path, steps=9, toy=toy)  # a second signal, of its report, would have ended the process
    assert [row["step"] for row in Run(tmp_path, {}).metrics()] == [0]


@pytest.mark.parametrize(("name", "values"), list(examples()), ids=str)
def test_no_report_changes_what_is_trained(name, values):
    algorithm = build(name, values)
    before = weights(algorithm)
    kept = loop._not_trained(algorithm)
    algorithm.evaluate([batch()])
    trained = {name for name, part in algorithm.named_parameters() if part.requires_grad}
    assert all(torch.equal(before[name], dict(algorithm.named_parameters())[name]) for name in trained)
    loop._put_back(algorithm, kept)
    after = algorithm.state_dict()
    for name, part in kept.items():
        torch.testing.assert_close(after[name], part, rtol=0, atol=0, equal_nan=True)
    assert kept.keys() | trained == after.keys()


def test_the_best_weights_are_kept_and_patience_ends_training(tmp_path):
    # reports at steps 0, 2, 4, …: the best is at 4; two reports without improvement end it at 8
    values = iter([9.0, 5.0, 3.0, 4.0, 3.5, 1.0])
    kept = {}

    def remember(progress, report):
        if report:
            kept[progress.step] = {k: v.clone() for k, v in toy.state_dict().items()}

    toy = Toy(valid=values)
    _, made, progress = train(
        tmp_path / "r", steps=100, report_every=2, patience=2, toy=toy, observe=remember
    )
    assert progress.step == 8
    assert "valid_loss has not improved on 3.0000 for 2 reports" in progress.finished
    weights = run_folder.load_weights(made)
    assert all(torch.equal(weights[name], kept[4][name]) for name in weights)


def test_a_collapse_stops_and_keeps_the_last_good_weights(tmp_path):
    toy = Toy(stop_at=4)
    toy.monitor = None
    at_two = {}

    def remember(progress, report):
        if progress.step == 2:
            at_two.update({k: v.clone() for k, v in toy.state_dict().items()})

    _, made, progress = train(tmp_path / "r", steps=50, report_every=2, toy=toy, observe=remember)
    assert progress.finished == "stopped: seen 4"
    weights = run_folder.load_weights(made)
    assert all(torch.equal(weights[name], at_two[name]) for name in weights)
    again, _, progress = train(tmp_path / "r", steps=50, report_every=2)
    assert again.seen == []
    assert progress.finished == "stopped: seen 4"


def test_a_finished_run_does_nothing_and_a_longer_plan_goes_on(tmp_path):
    train(tmp_path / "r", steps=8)
    again, _, progress = train(tmp_path / "r", steps=8)
    assert again.seen == []
    assert progress.finished == "done: 8 steps"
    longer, made, progress = train(tmp_path / "r", steps=10)
    assert len(longer.seen) == 2
    assert progress.step == 10
    assert [row["step"] for row in made.metrics()] == [0, 4, 8, 10]


def test_a_report_holds_means_since_the_last_and_honest_rates(tmp_path):
    ticks = itertools.count()
    made = run_folder.create(tmp_path / "r", {"algorithm": "toy"})
    torch.manual_seed(3)
    toy = Toy()
    losses = []
    step = toy.step
    toy.step = lambda batch, progress: (
        losses.append(float((metrics := step(batch, progress))["loss"])) or metrics
    )
    loop.train(
        toy,
        Counting(),
        [],
        made,
        Plan(steps=6, report_every=3, checkpoint_every=3),
        device=torch.device("cpu"),
        medium=MEDIUM,
        clock=lambda: float(next(ticks)),
    )
    first, second, third = made.metrics()
    assert "loss" not in first
    assert second["loss"] == pytest.approx(sum(losses[:3]) / 3)
    assert third["loss"] == pytest.approx(sum(losses[3:]) / 3)
    # one tick a step: three steps of 3 · 5 tokens in three seconds
    assert third["tokens_per_second"] == pytest.approx(15.0)
    assert (third["seconds"], third["epoch"]) == (6.0, round(6 / 11, 4))


def test_metrics_are_plain_json_lines(tmp_path):
    _, made, _ = train(tmp_path / "r", steps=4)
    rows = [json.loads(line) for line in (made.path / run_folder.METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 4]


def test_throughput_is_zero_where_no_time_has_passed():
    assert loop.throughput(7, 2.0) == 3.5
    assert loop.throughput(7, 0.0) == 0.0


class Sometimes(Toy):
    """Every third step has a metric that the others lack."""

    def step(self, batch, progress):
        metrics = super().step(batch, progress)
        return metrics | ({"rare": 5.0 + len(self.seen)} if len(self.seen) % 3 == 2 else {})


def test_a_metric_is_averaged_over_the_steps_that_have_it(tmp_path):
    # Steps 2 and 5 have it in the report at 7, step 8 alone in the one at 14; steps 11 and 14 as well.
    _, made, _ = train(tmp_path, steps=14, report_every=7, toy=Sometimes())
    rows = made.metrics()
    assert "rare" not in rows[0]
    assert rows[1]["rare"] == pytest.approx(((5 + 2) + (5 + 5)) / 2)
    assert rows[2]["rare"] == pytest.approx(((5 + 8) + (5 + 11) + (5 + 14)) / 3)


def test_such_an_average_goes_on_after_a_kill(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, steps=7, report_every=7, checkpoint_every=4, toy=Sometimes(), observe=kill_at(6))
    toy = Sometimes()
    toy.seen = [0.0] * 4  # the checkpoint is of step 4, after the first of the two steps
    _, made, _ = train(tmp_path, steps=7, report_every=7, checkpoint_every=4, toy=toy)
    assert made.metrics()[-1]["rare"] == pytest.approx(((5 + 2) + (5 + 5)) / 2)


def test_on_an_accelerator_sums_stay_there_until_they_are_read(tmp_path, monkeypatch):
    def toy(steps_done=0):
        torch.manual_seed(3)
        made = Sometimes()
        made.seen = [0.0] * steps_done
        return made

    kept = []

    def observe(progress, report):
        kept.append(progress.sums.get("loss"))
        kill_at(6)(progress, report)

    plan = {"steps": 7, "report_every": 7, "checkpoint_every": 4}
    _, here, _ = train(tmp_path / "here", **plan, toy=toy())
    monkeypatch.setattr(loop, "is_host", lambda device: False)
    with pytest.raises(Killed):
        train(tmp_path / "there", **plan, toy=toy(), observe=observe)
    assert isinstance(kept[-1], torch.Tensor)
    _, there, _ = train(tmp_path / "there", **plan, toy=toy(steps_done=4))
    for name in ("loss", "rare"):
        assert there.metrics()[-1][name] == pytest.approx(here.metrics()[-1][name], rel=1e-6)


def test_trainings_in_two_threads_are_as_each_alone(tmp_path):
    alone = [train(tmp_path / f"alone-{i}", steps=9, report_every=i + 2) for i in range(2)]
    meet, found = threading.Barrier(2), {}

    def work(i):
        made = run_folder.create(tmp_path / f"beside-{i}", {"algorithm": "toy"})
        found[i] = loop.train(
            algorithms[i],
            Counting(),
            [],
            made,
            Plan(9, report_every=i + 2, checkpoint_every=4, seed=17),
            device=torch.device("cpu"),
            medium=MEDIUM,
            randomness=streams[i],
            observe=lambda progress, report: meet.wait(timeout=60),  # a step of one, a step of the other
        )

    algorithms, streams = [], [RandomStream(), RandomStream()]
    for stream in streams:
        with stream:
            torch.manual_seed(3)
            algorithms.append(Toy())
    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i].finished for i in range(2)] == ["done: 9 steps"] * 2
    for i, (algorithm, made, _) in enumerate(alone):
        assert same(algorithm, algorithms[i])
        assert without_times(made) == without_times(Run(tmp_path / f"beside-{i}", {}))


def test_a_run_that_died_before_its_first_checkpoint_has_one_first_report(tmp_path, monkeypatch):
    def die(run, state):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "save_state", die)
        with pytest.raises(Killed):
            train(tmp_path, steps=4)
    _, made, _ = train(tmp_path, steps=4)
    assert [row["step"] for row in made.metrics()] == [0, 4]
