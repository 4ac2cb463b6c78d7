"""A training ready to start, text or image: what the commands that train make, show and carry out."""

import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seqgen.algorithms.base import Algorithm
from seqgen.core import settings
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.training import loop, run_folder
from seqgen.training.loop import Medium, Plan, Progress, Stream
from seqgen.training.run_folder import Run

ROOT = Path("runs")
MOST_STEPS_BETWEEN_REPORTS = 1000


@dataclass
class Job:
    """A training ready to start or to go on."""

    run: Run
    algorithm: Algorithm
    batches: Stream
    validation: Iterable[Any]
    plan: Plan
    device: torch.device
    medium: Medium
    notes: Sequence[str] = ()
    """What the user should know before it starts."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Names and texts of what the run folder holds beside its configuration."""
    folds: Sequence[Callable[[], "Job"]] = ()
    """What makes the trainings that go before, of generators without a part of the corpus."""
    use_folds: Callable[[Sequence[Run]], None] = lambda runs: None
    """Gives the algorithm the runs of these trainings."""

    def train(
        self,
        observe: loop.Observer = lambda progress, report: None,
        *,
        train_fold: Callable[["Job"], object] = lambda job: job.train(),
    ) -> Progress:
        """Train to the end, from the last checkpoint if there is one; before that nothing is written.

        `train_fold` trains what goes before, of which every finished part is left as it is.
        """
        with run_folder.locked(self.run.path):
            if self.folds:
                runs = []
                for make in self.folds:
                    job = make()
                    train_fold(job)
                    runs.append(job.run)
                self.use_folds(runs)
            for name, content in self.files.items():
                write_text(self.run.path / name, content)
            run_folder.create(self.run.path, self.run.config)
            run_folder.mark_latest(self.run.path)
            return loop.train(
                self.algorithm,
                self.batches,
                self.validation,
                self.run,
                self.plan,
                device=self.device,
                medium=self.medium,
                observe=observe,
            )


@dataclass(frozen=True)
class Request:
    """What a training command asks for, and the run folder where it is, or shall be."""

    folder: Path
    config: Mapping[str, Any]
    """What the run's configuration must say; only the length of training may differ."""
    existing: Run | None
    """The run in the folder, if it has begun."""

    def run_config(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the run's configuration: versions, what was asked for, and facts that follow from it."""
        made_by = self.existing.config if self.existing else versions()
        return {"format": run_folder.FORMAT} | made_by | dict(self.config) | dict(facts)


def request(folder: Path, config: Mapping[str, Any], defaults: Any) -> Request:
    """Return a request, with the run in the folder if it is the one asked for; UserError where it is another.

    A configuration alone is no run yet: its training never reached its first report.

    Args:
        config: what its configuration must say.
        defaults: the algorithm's settings; a run that was written before a setting existed has its default.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the name of the run folder '{folder}' is not UTF-8, which the format of the weights needs; "
            "choose another --run"
        ) from error
    begun = [name for name in (run_folder.STATE, run_folder.WEIGHTS) if (folder / name).exists()]
    if not begun:
        return Request(folder, config, None)
    if not (folder / run_folder.CONFIG).exists():
        raise UserError(
            f"'{folder}' holds {begun[0]} but no {run_folder.CONFIG}; restore it, choose another --run, or "
            "delete the folder"
        )
    found = run_folder.open_run(folder)
    before = settings.flatten({"settings": settings.to_dict(defaults)}) | settings.flatten(found.config)
    for key, value in settings.flatten(config).items():
        if key in ("settings.epochs", "settings.steps"):
            continue  # a longer training of the same run is the same run
        if before.get(key) != value:
            raise UserError(
                f"'{folder}' holds a run with {key}={before.get(key)}, not {value}; "
                "choose another --run, or delete it"
            )
    return Request(folder, config, found)


def assemble(
    asked: Request,
    config: Any,
    *,
    build: Callable[[dict[str, Any]], Algorithm],
    start: Callable[[Algorithm], None] = lambda algorithm: None,
    facts: Mapping[str, Any],
    steps: int | None,
    fewest_steps_between_reports: Callable[[int], int],
    batches: Stream,
    validation: Iterable[Any],
    device: torch.device,
    medium: Medium,
    notes: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Job:
    """Build the algorithm that a request asks for, and return the training ready to start.

    Args:
        config: its settings.
        build: from a run's configuration to an algorithm with fresh weights.
        start: gives it the weights of another run, where it starts from one.
        facts: what else the run's configuration says.
        steps: length of training; that of the settings where not given.
        fewest_steps_between_reports: by the length, where the settings leave it to an epoch.
    """
    epoch = len(batches)
    length = _length(steps or config.total_steps(epoch), asked.existing)
    run = Run(asked.folder, asked.run_config(dict(facts) | {"steps": length}))
    torch.manual_seed(asked.config["seed"])
    algorithm = build(run.config)
    start(algorithm)
    algorithm.to(device)
    algorithm.configure()
    fewest = fewest_steps_between_reports(length)
    # An epoch, unless it is so short that reports would take longer than training, or so long that one waits.
    report_every = config.report_every or min(max(epoch, fewest), MOST_STEPS_BETWEEN_REPORTS)
    plan = Plan(
        steps=length,
        report_every=report_every,
        checkpoint_every=report_every,
        patience=config.patience,
        seed=asked.config["seed"],
    )
    return Job(run, algorithm, batches, validation, plan, device, medium, notes, files or {})


def _length(steps: int, existing: Run | None) -> int:
    """Return the length of training in steps: what is asked for, but never less than has been done."""
    reports = existing.metrics() if existing else []
    return max([steps, *(int(row.get("step", 0)) for row in reports[-1:])])


def versions() -> dict[str, Any]:
    """Return what made a run: the versions and the command."""
    is_command = Path(sys.argv[0]).name == "seqgen" or Path(sys.argv[0]).parent.name == "seqgen"
    return {
        "seqgen": version("seqgen"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["seqgen", *sys.argv[1:]]) if is_command else "",
    }
