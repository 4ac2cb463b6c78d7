"""Trainings whose time is known, however often they were interrupted."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqgen.bench.speed import device_clock
from seqgen.core.atomic_files import write_text
from seqgen.training.job import Job
from seqgen.training.loop import Interrupted, Progress

SECONDS = "bench_seconds.json"
"""The file in a run folder that holds the seconds of the processes that have trained it."""


def clock(device: torch.device) -> Callable[[], float]:
    """Return a clock of CPU seconds, which other work on the machine does not change, or of wall time."""
    return time.process_time if device.type == "cpu" else device_clock(device)


def train(job: Job) -> tuple[Progress, float]:
    """Train to the end; → where it stands, and the seconds of all processes that have trained the run.

    Of a process that was killed they count to the last report, as what came after it is trained again. The
    generators of folds count, where these are trained first.
    """
    path = job.run.path / SECONDS
    now, before = clock(job.device), _recorded(path)
    start = now()

    def keep() -> float:
        seconds = before + now() - start
        if job.run.path.exists():  # not before the training has made it
            write_text(path, json.dumps({"seconds": round(seconds, 3)}) + "\n")
        return seconds

    def observe(progress: Progress, report: Any) -> None:
        if report is not None:
            keep()

    try:
        return job.train(observe, train_fold=lambda fold: fold.train(observe)), keep()
    except Interrupted:  # it has saved itself
        keep()
        raise


def _recorded(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except FileNotFoundError:
        return 0.0
