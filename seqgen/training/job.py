"""A training ready to start, text or image: what the commands that train make, show and carry out."""

import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seqgen.core import settings
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.training import loop, run_folder
from seqgen.training.loop import Medium, Plan, Progress, Stream
from seqgen.training.run_folder import Run

ROOT = Path("runs")


@dataclass
class Job:
    """A training ready to start or to go on."""

    run: Run
    algorithm: Any
    batches: Stream
    validation: Iterable[Any]
    plan: Plan
    device: torch.device
    medium: Medium
    notes: list[str] = field(default_factory=list)
    """What the user should know before it starts."""
    files: dict[str, str] = field(default_factory=dict)
    """Names and texts of what the run folder holds beside its configuration."""

    def train(self, observe: loop.Observer = lambda progress, report: None) -> Progress:
        """Train to the end, from the last checkpoint if there is one; before that nothing is written."""
        with run_folder.locked(self.run.path):
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


def existing(folder: Path, asked: Mapping[str, Any]) -> Run | None:
    """Return the run in a folder if it is the one asked for; UserError where it is another.

    A configuration alone is no run yet: its training never reached its first report.

    Args:
        asked: what its configuration must say; the length of training may differ.
    """
    begun = [name for name in (run_folder.STATE, run_folder.WEIGHTS) if (folder / name).exists()]
    if not begun:
        return None
    if not (folder / run_folder.CONFIG).exists():
        raise UserError(
            f"'{folder}' holds {begun[0]} but no {run_folder.CONFIG}; restore it, choose another --run, or delete "
            "the folder"
        )
    found = run_folder.open_run(folder)
    before = settings.flatten(found.config)
    for key, value in settings.flatten(asked).items():
        if key in ("settings.epochs", "settings.steps"):
            continue  # a longer training of the same run is the same run
        if before.get(key) != value:
            raise UserError(
                f"'{folder}' holds a run with {key}={before.get(key)}, not {value}; "
                "choose another --run, or delete it"
            )
    return found


def whole(asked: int, before: Run | None) -> int:
    """Return the length of training in steps: what is asked for, but never less than has been done."""
    reports = before.metrics() if before else []
    return max([asked, *(int(row.get("step", 0)) for row in reports[-1:])])


def versions() -> dict[str, Any]:
    """Return what made a run: the versions and the command."""
    return {
        "seqgen": version("seqgen"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["seqgen", *sys.argv[1:]]) if Path(sys.argv[0]).name == "seqgen" else "",
    }
