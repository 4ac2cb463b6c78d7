"""A length of training that fits a time: the first steps are timed, and their number follows.

The number of steps shapes the schedule of a training, so it is fixed before the first one and stands in
config.json. The model on which steps are timed is then thrown away, and the run is the one that `--steps`
with this number trains.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from seqgen.algorithms.base import Algorithm
from seqgen.core import distributed
from seqgen.core.device import wait
from seqgen.core.errors import UserError
from seqgen.core.random_state import RandomStream, own_randomness
from seqgen.training import run_config
from seqgen.training.loop import Medium, Stream, learn
from seqgen.training.run_folder import CONFIG, Run

LONGEST = 525_600
"""Minutes at most: a year."""
UNTIMED = 2
"""Steps that go before those that are timed: the first ones also allocate and compile."""
FEWEST = 5
"""Steps that are timed at least."""
FRACTION, MOST_SECONDS = 0.04, 10.0
"""How long steps of each kind are timed: a fraction of the budget, at most so many seconds."""

Make = Callable[[Mapping[str, Any]], tuple[Algorithm, RandomStream]]
"""From settings to an algorithm ready to step, and its random numbers."""


@dataclass(frozen=True)
class Timing:
    """How long the parts of a training take, in seconds."""

    step: float
    """A step once every part learns."""
    report: float
    first_step: float = 0.0
    """A step in which only the discriminator learns."""
    first_steps: int = 0
    """How many of these go before the others."""

    def seconds_of(self, steps: int, report_every: int) -> float:
        """Return how long so many steps take after those of the discriminator alone, reports included."""
        share = self.report / report_every
        first = self.first_steps * (self.first_step + share)
        return first + steps * (self.step + share) + 2 * self.report

    def steps_in(self, seconds: float, report_every: int) -> int:
        """Return how many steps there is time for, reports included, the first and the last among them."""
        rest = seconds - self.seconds_of(0, report_every)
        return max(self.first_steps + math.floor(rest / (self.step + self.report / report_every)), 0)


def check(minutes: float | None, lengths: Mapping[str, Any]) -> None:
    """Raise UserError where minutes are out of range, or two options give the length.

    lengths: the other options that give it, as `--steps `, and their values; None where one is not given. An
    option may stand beside a setting of the same meaning, which a file of settings may have, but no other.
    """
    options = [f"{name}{value}" for name, value in lengths.items() if value is not None and name[-1] == " "]
    if len(options) > 1:
        raise UserError(f"{options[0]} and {options[1]} both say how long to train; give one of them")
    if minutes is None:
        return
    if not 0 < minutes <= LONGEST:
        raise UserError(f"--minutes {minutes:g}: give a number above 0 and at most {LONGEST:,}, a year")
    for option, value in lengths.items():
        if value is not None:
            raise UserError(
                f"--minutes {minutes:g} and {option}{value} both say how long to train; give one of them"
            )


def fix_steps(
    minutes: float,
    existing: Run | None,
    measured: Callable[..., Timing],
    *,
    first_steps: int,
    report_every: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, list[str]]:
    """Return how many steps there is time for, and what to say about it; a run that has begun keeps its own.

    Args:
        existing: the run in the folder, if it has begun; UserError where its length was given in another way.
        measured: what times the parts of the training, with `seconds` and `first_steps` of `measure`.
        first_steps: how many steps of the discriminator alone go before the others.
    """
    if existing is not None:
        return _recorded_steps(existing, minutes), []
    begun = clock()
    timing = measured(seconds=60 * minutes, first_steps=first_steps)
    spent = distributed.share(clock() - begun)
    length = timing.steps_in(60 * minutes - spent, report_every)
    if length <= first_steps:
        alone = f"{first_steps:,} steps of the discriminator alone, " if first_steps else ""
        fewest = timing.seconds_of(1, report_every) / 60
        raise UserError(
            f"--minutes {minutes:g} is too short for one step here: {alone}a step and two reports take "
            f"{fewest:.2g} minutes; give more, or say the length by --steps"
        )
    return length, [
        f"--minutes {minutes:g}: {length:,} steps, as a step takes {timing.step:.3g} s here and a report "
        f"{timing.report:.3g} s"
    ]


def _recorded_steps(existing: Run, minutes: float) -> int:
    """Return the steps of a run that was begun with these minutes; UserError where it was begun without."""
    before = existing.config.get("minutes")
    if before != minutes:
        given = "a length in steps" if before is None else f"--minutes {before:g}"
        again = "leave --minutes out" if before is None else f"give --minutes {before:g}"
        raise UserError(
            f"'{existing.path}' holds a run with {given}, not --minutes {minutes:g}; {again} to go on with "
            "it, or choose another --run"
        )
    run_config.require(existing.config, ("steps",), existing.path / CONFIG)
    return existing.config["steps"]


def measure(
    make: Make,
    settings: Mapping[str, Any],
    batches: Stream,
    validation: Iterable[Any],
    *,
    seconds: float,
    first_steps: int,
    device: torch.device,
    medium: Medium,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time steps and a report of a training by a model that is thrown away; the batches stay where they are.

    Args:
        make: what builds the model by its settings.
        seconds: the whole budget, of which a part is spent here.
        first_steps: how many steps of the discriminator alone go before the others.
    """
    place = batches.state_dict()
    limit = min(FRACTION * seconds, MOST_SECONDS)

    def timed(work: Callable[[], object]) -> float:
        start = clock()
        work()
        wait(device)
        return distributed.share(clock() - start)

    def step_seconds(algorithm: Algorithm, most: float = math.inf) -> float:
        def step() -> None:
            learn(algorithm, next(batches), 0.5, device)

        untimed = int(min(UNTIMED, most - 1))
        for _ in range(untimed):
            step()
        wait(device)
        taken, steps = 0.0, 0
        while steps < most - untimed and (steps < FEWEST or taken < limit):
            taken += timed(step)
            steps += 1
        return taken / steps

    first = 0.0
    if first_steps:
        algorithm, randomness = make(settings)
        with randomness:
            first = step_seconds(algorithm, first_steps)
    algorithm, randomness = make(_without_pretraining(settings))
    with randomness:
        step = step_seconds(algorithm)

        def report() -> None:
            with own_randomness(0):
                algorithm.evaluate(validation)
                algorithm.samples(medium.shown)

        taken = timed(report)
        if taken < limit:  # the first may draw what later ones use again
            taken = min(taken, timed(report))
    batches.load_state_dict(place)
    return Timing(step, taken, first, first_steps)


def _without_pretraining(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by which every part learns from the first step on."""
    return {
        name: _without_pretraining(value)
        if isinstance(value, Mapping)
        else 0
        if name.endswith("pretraining_steps")
        else value
        for name, value in settings.items()
    }
