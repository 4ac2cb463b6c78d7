"""Progress display of training: for each report its metrics and some samples, and a bar on a terminal."""

import contextlib
import math
import sys
import time
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

from seqgen.cli import streams, terminal
from seqgen.core import launcher
from seqgen.core.printable import printable
from seqgen.data.reading import Reading
from seqgen.training import run_folder
from seqgen.training.loop import Metrics, Plan, Progress
from seqgen.training.run_folder import Run

SHOWN = (
    "nll",
    "recon",
    "kl",
    "valid_recon",
    "valid_nll",
    "valid_ppl",
    "mutual_information",
    "active_units",
    "reconstruction_bleu",
    "shuffled_bleu",
    "reward",
    "loss",
    "valid_loss",
    "d_loss",
    "d_accuracy",
    "d_gap",
    "unique",
    "sample_nll",
    "diversity",
)
"""The metrics shown, in this order, if an algorithm logs them."""
COLLAPSED = "COLLAPSED: the latent carries no information"
"""Shown if the metric `collapsed` is not 0."""
SAMPLES = 3
"""Samples shown at a report."""
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}  {remaining} left{postfix}"
LEAST_BAR = 10
"""Columns of the bar itself at least: metrics are shown beside it as far as they leave it these."""


class Display:
    """An observer of the training loop: writes to stderr, and the metrics to TensorBoard."""

    def __init__(self, run: Run, plan: Plan, *, quiet: bool) -> None:
        self.run, self.plan, self.quiet = run, plan, quiet
        self.events = Events(run)
        is_terminal = sys.stderr.isatty() and not quiet
        self.bar = tqdm(
            total=plan.steps,
            unit="step",
            bar_format=BAR,
            ncols=terminal.width() - 1,  # some terminals begin a new line when the last column is written
            disable=not is_terminal,
            file=streams.for_bars(),
        )

    def __call__(self, progress: Progress, metrics: Metrics | None) -> None:
        """Advance the bar by a step; show and record metrics."""
        if self.bar.n == 0 and progress.step > 1:
            self.bar.initial = self.bar.n = progress.step - 1  # resumed
        self.bar.update(progress.step - self.bar.n)
        if metrics is None:
            return
        self.events.add(metrics, progress.step)
        if self.quiet:
            return
        columns = terminal.width()
        lines = [line(progress, self.plan, metrics)]
        if not self.bar.disable:
            self.bar.ncols = columns - 1
            self.bar.set_postfix_str(beside_bar(metrics, self.plan, columns - 1), refresh=False)
            lines = terminal.packed(parts(progress, self.plan, metrics), columns)
        lines += [terminal.cut(f"  {sample}", columns) for sample in samples(self.run, progress.step)]
        self.bar.clear()
        typer.echo("\n".join(lines), err=True)
        self.bar.refresh()

    def close(self) -> None:
        """Stop the bar and close the event file."""
        self.bar.close()
        self.events.close()


def samples(run: Run, step: int) -> list[str]:
    """Return the first samples of the report after a step, each as one line; none of a run on images.

    They are a courtesy, as the bar is: where their file cannot be read there are none.
    """
    path = run.path / "samples" / f"{run_folder.samples_name(step)}.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    data = run.config.get("data")
    end = Reading(separator=data.get("separator") if isinstance(data, dict) else None).item_end
    first = text.removesuffix(end).split(end)[:SAMPLES]
    return [printable(each.replace("\n", "\\n").replace("\t", "\\t")) for each in first]


class Events:
    """The metrics as TensorBoard's events in the folder of a run; a courtesy, which ends where it fails.

    They are written at once: a writer with a thread of its own, as `tensorboardX.SummaryWriter` is, fails in
    that thread.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.writer: Any = None
        """Opened at the first row: a run that has finished is left as it is."""
        self.has_failed = False

    def add(self, metrics: Metrics, step: int) -> None:
        """Write a row of metrics, unless writing has failed before."""
        if self.has_failed or not launcher.is_first():
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        try:
            for name, value in metrics.items():
                event = Event(step=step, wall_time=time.time(), summary=scalar(name, value))
                self._opened().write_event(event)
            self.writer.flush()
        except OSError as error:
            self.has_failed = True
            tqdm.write(f"TensorBoard's events end here: {error.strerror or error}", file=sys.stderr)

    def close(self) -> None:
        """Close the file of events."""
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()

    def _opened(self) -> Any:
        if self.writer is None:
            from tensorboardX.event_file_writer import EventsWriter

            folder: Path = self.run.writable("tensorboard")
            folder.mkdir(exist_ok=True)
            self.writer = EventsWriter(str(folder / "events"))
        return self.writer


def shown(metrics: Metrics) -> list[str]:
    """Return the shown metrics as `name value`, three decimals, and whether the posterior collapsed."""
    texts = [f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics]
    return [*texts, COLLAPSED] if metrics.get("collapsed") else texts


def beside_bar(metrics: Metrics, plan: Plan, columns: int) -> str:
    """Return those of the shown metrics that have room beside a bar, each whole, the validation's first."""
    counts = 2 * len(str(plan.steps)) + 1
    room = columns - len("100%|| ") - LEAST_BAR - counts - len("  00:00:00 left, ")
    texts = sorted(shown(metrics), key=lambda text: not text.startswith("valid_"))
    return next(iter(terminal.packed([text for text in texts if len(text) <= room], room)), "")


def time_left(progress: Progress, plan: Plan) -> str:
    """Return the time that the steps to come take at the rate so far; unknown before the first."""
    if not progress.step or not progress.seconds:
        return "time left unknown"
    left = (plan.steps - progress.step) * progress.seconds / progress.step
    return f"{tqdm.format_interval(math.ceil(left))} left"


def parts(progress: Progress, plan: Plan, metrics: Metrics) -> list[str]:
    """Return what a report says, one thing a text: step, rates, time left, values."""
    rates = []
    if progress.step and progress.seconds:
        unit, speed = next((name, value) for name, value in metrics.items() if name.endswith("_per_second"))
        rates = [
            f"{progress.step / progress.seconds:.1f} steps/s",
            f"{speed:,.0f} {unit.removesuffix('_per_second')}/s",
        ]
    return [f"step {progress.step}/{plan.steps}", *rates, time_left(progress, plan), *shown(metrics)]


def line(progress: Progress, plan: Plan, metrics: Metrics) -> str:
    """Return metrics as one log line: step, rates, time left, values."""
    return "  ".join(parts(progress, plan, metrics))
