"""The one training loop: step, report, checkpoint, resume. It knows an algorithm only by its contract.

Metrics that every report has, beside those of the algorithm: `step`, `epoch`, `seconds` of training so
far, and since the last report `tokens_per_second` of real training tokens, or `images_per_second`.
"""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from seqgen.algorithms.base import Algorithm, Metrics, StepMetrics
from seqgen.core import distributed, memory, optim, signals
from seqgen.core.device import flush_denormals, is_host, widened
from seqgen.core.errors import UserError, is_out_of_memory
from seqgen.core.random_state import RandomStream, device_states, own_randomness, set_device_states
from seqgen.core.untrusted import read_fields
from seqgen.training import checkpoint, run_folder
from seqgen.training.run_folder import Run


class Stream(Protocol):
    """Endless batches, ids or images, that go on from a saved state."""

    def __len__(self) -> int:
        """Return the batches of an epoch."""

    @property
    def epoch(self) -> float:
        """Epochs done so far."""

    def __next__(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Medium:
    """What is generated, sentences or images: how to count it and how to show it."""

    unit: str
    """What a rate counts: `tokens`, `images`."""
    count: Callable[[Any], int]
    """How many of them a batch holds."""
    shown: int
    """Samples in a report."""
    write: Callable[[Path, Tensor], None]
    """Write samples to a file, whose ending is added to the path."""


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to look."""

    steps: int
    report_every: int
    checkpoint_every: int
    patience: int | None = None
    """Stop after this many reports without improvement of the monitor."""
    seed: int = 0


@dataclass
class Progress:
    """Where training stands; all of it goes into the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    since_best: int = 0
    finished: str = ""
    """Why training ended; empty while it has not."""
    sums: dict[str, float | Tensor] = field(default_factory=dict)
    """Sums of the metrics of steps since the last report; on an accelerator they stay there until read."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many steps had each of these metrics."""
    counted: int = 0
    """Units of the medium learned from since the last report."""
    seconds_at_report: float = 0.0
    first: Metrics = field(default_factory=dict)
    """The report before the first step."""
    unreported: bool = False
    """Whether the report of this step is still to come, as a signal broke it off."""


class Interrupted(Exception):
    """Training was asked to stop and has saved itself."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step, self.signal_number = step, signal_number


Observer = Callable[[Progress, Metrics | None], None]
"""Called after every step with where training stands, and with the report where there is one."""


def train(
    algorithm: Algorithm,
    batches: Stream,
    validation: Iterable[Any],
    run: Run,
    plan: Plan,
    *,
    device: torch.device,
    medium: Medium,
    randomness: RandomStream | None = None,
    observe: Observer = lambda progress, report: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Progress:
    """Train until the plan's end, an early stop or a signal, from the run's last checkpoint if it has one.

    Reports run on a random state of their own, so looking more often does not change what is learned, and all
    else on that of `randomness`, so that trainings in other threads do not, either. On the CPU a resumed
    training is bit-identical to one that was never stopped.

    A signal is heeded after the step under way; a report under way is broken off, and made by what resumes.

    Several processes (`seqgen.core.distributed`) train as one: each learns from its part of a batch, all of
    them make the same report, and the first one writes.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the state has been saved.
        FloatingPointError: a loss or gradient is not finite; the last checkpoint stands.
    """
    flush_denormals()  # of a program that calls this; a command has done so
    randomness = RandomStream() if randomness is None else randomness
    with randomness:
        progress = resume(algorithm, batches, run)
    if is_done(progress, plan):
        return progress
    if distributed.is_writer():
        run_folder.forget_after(run, progress.step if progress.first else -1)
    progress.finished = ""  # a longer plan goes on where a shorter one was done
    started = clock() - progress.seconds
    due = not progress.first or progress.unreported
    with signals.collected() as caught:
        while due or not is_done(progress, plan):
            row = None
            with randomness:
                if not due:
                    batch = next(batches)
                    metrics = learn(algorithm, batch, progress.step / plan.steps, device)
                    progress.step += 1
                    _add(progress, metrics, counted=medium.count(batch))
                    progress.seconds = clock() - started
                    due = progress.step % plan.report_every == 0 or progress.step == plan.steps
                if due:
                    row = _report(
                        algorithm, validation, run, plan, progress, medium, epoch=batches.epoch, caught=caught
                    )
            progress.unreported, due = due and row is None, False
            ended = is_done(progress, plan)
            if ended and not progress.finished:
                progress.finished = f"done: {progress.step} steps"
            observe(progress, row)
            # Once: a signal after the save must wait for the next step's. Any process may have got it.
            signal_number = distributed.any_asks(caught[0] if caught else 0)
            if row is not None or signal_number or progress.step % plan.checkpoint_every == 0:
                with randomness:
                    save(algorithm, batches, run, progress)
            if signal_number and not ended:
                raise Interrupted(progress.step, signal_number)
    distributed.wait_for_all()
    return progress


def learn(algorithm: Algorithm, batch: Any, progress: float, device: torch.device) -> StepMetrics:
    """Take a step with a batch, of which each of several processes takes its part.

    A batch that cannot be divided evenly, as an epoch's last one, they all learn from as a whole.
    """
    if distributed.count() == 1:
        return algorithm.learn(batch.to(device, non_blocking=True), progress)
    with distributed.sharded(batch.divides_by(distributed.count())):
        return algorithm.learn(batch.shard().to(device, non_blocking=True), progress)


def is_done(progress: Progress, plan: Plan) -> bool:
    """Whether there is nothing left to train: it has stopped for a reason, or is as long as planned."""
    has_stopped = progress.finished.startswith("stopped") or progress.step >= plan.steps
    return has_stopped and not progress.unreported


def has_done(run: Run, plan: Plan) -> bool:
    """Whether the last checkpoint of a run is that of a training with nothing left to do."""
    try:
        progress = last_progress(run)
    except ValueError:  # no checkpoint of this loop: resuming says so
        return False
    return progress is not None and is_done(progress, plan)


def last_progress(run: Run, *, mapped: bool = False) -> Progress | None:
    """Read where a training stands; None before its first checkpoint, ValueError where that is another's.

    mapped: as of `run_folder.load_state`.
    """
    state = run_folder.load_state(run, mapped=mapped)
    return None if state is None else read_fields(Progress, state.get("progress"))


def resume(algorithm: Algorithm, batches: Stream, run: Run) -> Progress:
    """Put the run's last checkpoint back, everything that `save` wrote; return where training stands."""
    state = run_folder.load_state(run)
    if state is None:
        return Progress()
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, of what is refused as well
            progress = _restore(algorithm, batches, state)
    except Exception as error:  # what a checkpoint of another model, or a damaged one, leads torch to
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"'{run.path / run_folder.STATE}' is no checkpoint of this run "
            f"({' '.join(str(error).split())[:80]}); restore the run's own, or train again in another folder"
        ) from error
    return progress


def _restore(algorithm: Algorithm, batches: Stream, state: dict[str, Any]) -> Progress:
    """Put a checkpoint back and return where training stands; any exception where it does not fit."""
    algorithm.load_state_dict(state["weights"])
    checkpoint.check_finite(algorithm)
    for name, optimizer in algorithm.optimizers.items():
        optimizer.load_state_dict(checkpoint.checked(state["optimizers"][name], optimizer))
    batches.load_state_dict(state["batches"])
    torch.set_rng_state(state["rng"])
    set_device_states({"cuda": _of_own_device(state["cuda_rng"]), "mps": state.get("mps_rng", [])})
    progress = read_fields(Progress, state["progress"])
    checkpoint.check_means(progress.sums, progress.counts)
    checkpoint.check_report(progress.first)
    return progress


def _of_own_device(states: list[Tensor]) -> list[Tensor]:
    """Return the random states of CUDA devices as this process needs them: all processes' are alike."""
    return [states[0]] * torch.cuda.device_count() if states and distributed.count() > 1 else states


def save(algorithm: Algorithm, batches: Stream, run: Run, progress: Progress) -> None:
    """Write the checkpoint that `resume` reads."""
    _sum_up(progress)
    if not distributed.is_writer():
        return
    on_devices = device_states()
    run_folder.save_state(
        run,
        {
            "weights": algorithm.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in algorithm.optimizers.items()},
            "batches": batches.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": on_devices.get("cuda", []),
            "mps_rng": on_devices.get("mps", []),
            "progress": vars(progress),
        },
    )


def _add(progress: Progress, metrics: StepMetrics, *, counted: int) -> None:
    for name, value in metrics.items():
        on_host = not isinstance(value, Tensor) or is_host(value.device)
        number = float(value) if on_host else widened(value)  # type: ignore[arg-type]
        progress.sums[name] = progress.sums.get(name, 0.0) + number
        progress.counts[name] = progress.counts.get(name, 0) + 1
    progress.counted += counted


def _sum_up(progress: Progress) -> None:
    """Read the sums of metrics from the device, and give all processes their mean, that of whole batches."""
    values = distributed.averages([float(total) for total in progress.sums.values()])
    progress.sums = dict(zip(progress.sums, values, strict=True))


def throughput(count: int, seconds: float) -> float:
    """Return a rate per second, 0 where no time has passed."""
    return count / seconds if seconds > 0 else 0.0


def _report(
    algorithm: Algorithm,
    validation: Iterable[Any],
    run: Run,
    plan: Plan,
    progress: Progress,
    medium: Medium,
    *,
    epoch: float,
    caught: signals.Caught,
) -> Metrics | None:
    """Measure, show samples, keep the weights if they are the best, and decide whether to stop.

    None where a signal comes while it measures: then nothing is written, and everything is as before.
    """
    optim.check_finite(algorithm.optimizers.values())
    _sum_up(progress)
    row: Metrics = {"step": progress.step, "epoch": round(epoch, 4), "seconds": round(progress.seconds, 3)}
    spent = progress.seconds - progress.seconds_at_report
    row[f"{medium.unit}_per_second"] = round(throughput(progress.counted, spent), 1)
    row |= {name: float(total) / progress.counts[name] for name, total in progress.sums.items()}
    before = _not_trained(algorithm)
    try:
        with own_randomness(plan.seed + progress.step), caught.breaking_off():
            row |= algorithm.evaluate(validation)
            samples = algorithm.samples(medium.shown)
        is_broken_off = False
    except signals.BrokenOff:
        is_broken_off = True
    distributed.wait_for_all()
    if distributed.any_asks(is_broken_off):
        _put_back(algorithm, before)
        return None
    row = distributed.share(row)
    distributed.copy_from_writer(part for _, part in _parts_not_trained(algorithm))
    _check_alike(algorithm)
    if not progress.first:
        progress.first = dict(row)
    progress.sums, progress.counts, progress.counted = {}, {}, 0
    progress.seconds_at_report = progress.seconds
    reason = algorithm.should_stop(row, progress.first)
    if reason:
        progress.finished = f"stopped: {reason}"
    else:
        _keep_best(algorithm, run, plan, progress, row)
    if distributed.is_writer():
        medium.write(run.writable("samples") / run_folder.samples_name(progress.step), samples)
        run_folder.append_metrics(run, row)
    memory.release()
    return row


def _not_trained(algorithm: Algorithm) -> dict[str, Tensor]:
    """Copy what a report may change of an algorithm, such as a calibration: all but what optimisers train."""
    return {name: part.clone() for name, part in _parts_not_trained(algorithm)}


def _parts_not_trained(algorithm: Algorithm) -> list[tuple[str, Tensor]]:
    trained = {name for name, parameter in algorithm.named_parameters() if parameter.requires_grad}
    return [(name, part) for name, part in algorithm.state_dict().items() if name not in trained]


def _check_alike(algorithm: Algorithm) -> None:
    """Raise UserError where the weights or random states of several processes have come to differ."""
    distributed.check_same(
        [*algorithm.state_dict().values(), torch.get_rng_state()], "the weights or random numbers"
    )


@torch.no_grad()
def _put_back(algorithm: Algorithm, before: dict[str, Tensor]) -> None:
    """Undo what half a report has changed, so that the whole one starts from the same state."""
    now = algorithm.state_dict()
    for name, part in before.items():
        now[name].copy_(part)


def _keep_best(algorithm: Algorithm, run: Run, plan: Plan, progress: Progress, row: Metrics) -> None:
    """Save the weights where the monitored metric improved; stop when the plan's patience ends.

    Without a monitored metric the latest weights are saved, and patience is by the validation NLL.
    """
    name = algorithm.monitor or "valid_nll"
    value = row.get(name)
    has_improved = value is None or progress.best is None or value < progress.best
    if has_improved:
        progress.best, progress.since_best = value, 0
    else:
        progress.since_best += 1
    if (has_improved or algorithm.monitor is None) and distributed.is_writer():
        run_folder.save_weights(run, algorithm.state_dict())
    if plan.patience is not None and progress.since_best >= plan.patience:
        best = f"{name} has not improved on {progress.best:.4f}"
        progress.finished = f"stopped: {best} for {plan.patience} reports"
