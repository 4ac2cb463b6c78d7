"""Progress display of training: a bar on a terminal, otherwise a log line for each row of metrics."""

import sys

from tqdm import tqdm

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
        from tensorboardX import SummaryWriter

        self.plan, self.quiet = plan, quiet
        self.latest = ""
        self.events = SummaryWriter(str(run.path / "tensorboard"))
        terminal = sys.stderr.isatty() and not quiet
        self.bar = tqdm(
            total=plan.steps, unit="step", disable=not terminal, dynamic_ncols=True, file=sys.stderr
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
        for name, value in metrics.items():
            self.events.add_scalar(name, value, progress.step)
        self.events.flush()
        if self.bar.disable and not self.quiet:
            tqdm.write(line(progress, self.plan, metrics), file=sys.stderr)

    def close(self) -> None:
        """Stop the bar and close the event file."""
        self.bar.close()
        self.events.close()


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
