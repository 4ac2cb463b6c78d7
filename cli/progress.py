"""What a user sees while training: a bar on a terminal, a log line at each report elsewhere."""

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
    "entropy",
    "variety",
)
"""The figures that matter while one waits, in this order, where an algorithm reports them."""
COLLAPSED = "COLLAPSED: the code tells nothing"
"""Said in place of the figure of that name."""


class Display:
    """An observer of the training loop; writes to stderr only, and the reports to TensorBoard."""

    def __init__(self, run: Run, plan: Plan, *, quiet: bool) -> None:
        from tensorboardX import SummaryWriter

        self.plan, self.quiet = plan, quiet
        self.latest = ""
        self.events = SummaryWriter(str(run.path / "tensorboard"))
        terminal = sys.stderr.isatty() and not quiet
        self.bar = tqdm(
            total=plan.steps, unit="step", disable=not terminal, dynamic_ncols=True, file=sys.stderr
        )

    def __call__(self, progress: Progress, report: Metrics | None) -> None:
        """Move the bar by a step; show and record a report."""
        if self.bar.n == 0 and progress.step > 1:
            self.bar.initial = self.bar.n = progress.step - 1  # resumed
        self.bar.update(progress.step - self.bar.n)
        if report is None:
            return
        self.latest = shown(report)
        self.bar.set_postfix_str(self.latest, refresh=False)
        for name, value in report.items():
            self.events.add_scalar(name, value, progress.step)
        self.events.flush()
        if self.bar.disable and not self.quiet:
            tqdm.write(line(progress, self.plan, report), file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is and close the event file."""
        self.bar.close()
        self.events.close()


def shown(report: Metrics) -> str:
    """Return the figures that matter as `name value`, three decimals, and whether codes tell nothing."""
    figures = [f"{name} {report[name]:.3f}" for name in SHOWN if name in report]
    return "  ".join([*figures, COLLAPSED] if report.get("collapsed") else figures)


def line(progress: Progress, plan: Plan, report: Metrics) -> str:
    """Return a report as one log line: step, rate, remaining time, figures."""
    rate = progress.step / progress.seconds if progress.seconds else 0.0
    left = (plan.steps - progress.step) / rate if rate else 0.0
    unit, speed = next((name, value) for name, value in report.items() if name.endswith("_per_second"))
    head = (
        f"step {progress.step}/{plan.steps}  {rate:.1f} steps/s  "
        f"{speed:,.0f} {unit.removesuffix('_per_second')}/s"
    )
    return f"{head}  {tqdm.format_interval(int(left))} left  {shown(report)}"
