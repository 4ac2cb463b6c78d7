"""Timing several things against each other, interleaved so that a busy machine is busy for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Clock = Callable[[], float]
Case = tuple[Callable[[], object], int]
"""A function, and how often a run calls it."""


@dataclass(frozen=True)
class Timing:
    """How long one call took, in seconds: median, least and most over the runs."""

    median: float
    least: float
    most: float

    def throughput(self, work: float) -> float:
        """Units of work a second, at the median."""
        return work / self.median


@dataclass(frozen=True)
class Row:
    """A task of the table: the same work by the reference and by us, and the time no program can beat."""

    task: str
    unit: str
    """what is counted, for example 'sentences'"""
    work: float
    """units of work in a call"""
    naive: Timing | None
    """None where the reference was left out"""
    ours: Timing
    floor: float | None = None
    """seconds that the products of the task alone would take (`seqgen.bench.floor`)"""
    what: str = ""
    """of which model, where a task is timed for several"""

    @property
    def ratio(self) -> float | None:
        """How many times faster than the reference, median by median."""
        return None if self.naive is None else self.naive.median / self.ours.median

    @property
    def fraction_of_floor(self) -> float | None:
        """The part of our time that the floor takes; 1 is as fast as can be."""
        return None if self.floor is None else self.floor / self.ours.median

    def as_dict(self) -> dict[str, Any]:
        """Everything, with the derived numbers, for JSON."""
        rates = {
            "naive_per_second": None if self.naive is None else self.naive.throughput(self.work),
            "ours_per_second": self.ours.throughput(self.work),
        }
        return asdict(self) | rates | {"ratio": self.ratio, "fraction_of_floor": self.fraction_of_floor}


def interleaved(
    cases: Mapping[str, Case],
    *,
    repeats: int = 5,
    warmup: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time each case's function, called `calls` times a run, in turns: every case once a round.

    cases: name → (function, calls). The first `warmup` rounds are not counted. Seconds are of one call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(warmup + repeats):
        for name, (function, calls) in cases.items():
            start = clock()
            for _ in range(calls):
                function()
            elapsed = clock() - start
            if round_ >= warmup:
                seconds[name].append(elapsed / calls)
    return {name: Timing(statistics.median(s), min(s), max(s)) for name, s in seconds.items()}


def table(rows: list[Row]) -> str:
    """Lay rows out: throughput of both with milliseconds a call (least to most), ratio and floor."""
    header = ("task", "model", "naive", "ours", "ratio", "floor", "of floor")
    lines = [header]
    for row in rows:
        floor = (
            ("-", "-")
            if row.floor is None or row.fraction_of_floor is None
            else (_ms(row.floor), f"{row.fraction_of_floor:.0%}")
        )
        ratio = "-" if row.ratio is None else f"{row.ratio:.1f}×"
        lines.append((row.task, row.what, _cell(row, row.naive), _cell(row, row.ours), ratio, *floor))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(row: Row, timing: Timing | None) -> str:
    if timing is None:
        return "-"
    spread = f"{_ms(timing.median)} ({_ms(timing.least)} to {_ms(timing.most)})"
    return f"{timing.throughput(row.work):,.3g} {row.unit}/s, {spread}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.4g} ms" if seconds < 10 else f"{seconds:,.3g} s"
