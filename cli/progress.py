"""Progress display of training: a bar on a terminal, otherwise a log line for each row of metrics."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seqgen.cli import streams
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


class Display:
    """An observer of the training loop: writes to stderr, and the metrics to TensorBoard."""

    def __init__(self, run: Run, plan: Plan, *, quiet: bool) -> None:
        self.plan, self.quiet = plan, quiet
        self.latest = ""
        self.events = Events(run)
        terminal = sys.stderr.isatty() and not quiet
        self.bar = tqdm(
            total=plan.steps, unit="step", disable=not terminal, dynamic_ncols=True, file=streams.for_bars()
        )

    def __call__(self, progress: Progress, metrics: Metrics | None) -> None:
        """Advance the bar by a step; show and record metrics."""
        if self.bar.n == 0 and progress.step > 1:
            self.bar.initial = self.bar.n = progress.step - 1  # resumed
        self.bar.update(progress.step - self.bar.n)
        if metrics is None:
            return
        self.latest = shown(metrics)
        self.bar.set_postfix_str(self.latest, refresh=False)
        self.events.add(metrics, progress.step)
        if self.bar.disable and not self.quiet:
            tqdm.write(line(progress, self.plan, metrics), file=sys.stderr)

    def close(self) -> None:
        """Stop the bar and close the event file."""
        self.bar.close()
        self.events.close()


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
        if self.has_failed:
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


def shown(metrics: Metrics) -> str:
    """Return the shown metrics as `name value`, three decimals, and whether the posterior collapsed."""
    texts = [f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics]
    return "  ".join([*texts, COLLAPSED] if metrics.get("collapsed") else texts)


def line(progress: Progress, plan: Plan, metrics: Metrics) -> str:
    """Return metrics as one log line: step, rate, remaining time, values."""
    rate = progress.step / progress.seconds if progress.seconds else 0.0
    left = (plan.steps - progress.step) / rate if rate else 0.0
    unit, speed = next((name, value) for name, value in metrics.items() if name.endswith("_per_second"))
    head = (
        f"step {progress.step}/{plan.steps}  {rate:.1f} steps/s  "
        f"{speed:,.0f} {unit.removesuffix('_per_second')}/s"
    )
    return f"{head}  {tqdm.format_interval(int(left))} left  {shown(metrics)}"
