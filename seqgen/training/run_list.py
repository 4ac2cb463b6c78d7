"""What a folder of runs holds: each run with where its training stands, the damaged ones as such."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors

from seqgen.core.errors import UserError
from seqgen.core.untrusted import check_regular
from seqgen.training import load, loop, paths, run_config, run_folder
from seqgen.training.run_folder import CONFIG, METRICS, STATE, TOKENIZER, WEIGHTS, Run

PARTS = (CONFIG, STATE, WEIGHTS, METRICS)
"""A folder is a run, whole or damaged, that holds one of these."""


@dataclass(frozen=True)
class Listed:
    """A run of a list; what is not known of a damaged one is None."""

    path: Path
    changed: float
    """When a part of it was last written, in seconds since 1970."""
    algorithm: str | None = None
    corpus: str | None = None
    """Its text or images: a path that is absolute, or a name."""
    step: int | None = None
    """Steps trained, of its last checkpoint."""
    steps: int | None = None
    """Steps planned."""
    metric: str | None = None
    """The metric of the validation split by which its weights were kept, and its least value."""
    best: float | None = None
    ended: str = ""
    """Why training ended, as `done: 300 steps`; empty while it has not."""
    damage: str = ""
    """What is wrong with it; empty where nothing is."""


def in_folder(folder: Path) -> list[Listed]:
    """List the runs in a folder, or the one that it is itself, the last written first.

    Links are left out, as `latest` is one, and folders that hold no part of a run. The weights are not read:
    only whether their file is one and whole. UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"no folder '{folder}'; name one that holds runs, or train a first run with: seqgen pretrain"
        )
    if (folder / CONFIG).exists():
        return [_listed(folder)]
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
    found = [_listed(path) for path in inside if _parts(path)]
    return sorted(found, key=lambda each: each.changed, reverse=True)


def _parts(path: Path) -> list[Path]:
    try:
        return [path / name for name in PARTS if (path / name).is_file()]
    except OSError:  # a folder that may not be looked into
        return []


def _listed(path: Path) -> Listed:
    """Describe a run; where a part of it cannot be read, as far as the others go."""
    listed = Listed(path, max((part.stat().st_mtime for part in _parts(path)), default=0.0))
    try:
        run = run_folder.open_run(path)
        listed = _configured(listed, run)
        _check_parts(run)
        return _trained(listed, run)
    except (OSError, ValueError) as error:  # a UserError is a ValueError
        reason = str(error.strerror or error) if isinstance(error, OSError) else str(error)
        return replace(listed, damage=reason.split(";")[0])


def _configured(listed: Listed, run: Run) -> Listed:
    """Add what the configuration says; UserError where it lacks what every run has."""
    is_on_images = run.config["verb"] == "image"
    if is_on_images:
        run_config.require(run.config, run_config.IMAGES, run.path / CONFIG)
    else:
        load.check(run)
    data = run.config["data"] if is_on_images else run.config["data"]["corpus"]
    return replace(
        listed,
        algorithm=run.config["algorithm"],
        corpus=paths.from_store(data, run.path),
        steps=run.config.get("steps"),
    )


def _check_parts(run: Run) -> None:
    """Raise UserError where the tokenizer is missing, or the weights are no whole file of weights."""
    has_begun = (run.path / STATE).exists() or (run.path / WEIGHTS).exists()
    if has_begun and run.config["verb"] != "image" and not (run.path / TOKENIZER).is_file():
        raise UserError(f"it has no {TOKENIZER}")
    weights = run.path / WEIGHTS
    if not weights.exists():
        return  # before the first report
    check_regular(weights)
    try:
        with safetensors.safe_open(str(weights), framework="pt"):
            pass
    except safetensors.SafetensorError as error:
        raise UserError(f"{WEIGHTS} is corrupt or no safetensors file ({error})") from error


def _trained(listed: Listed, run: Run) -> Listed:
    """Add where its training stands; ValueError or UserError where the checkpoint is damaged."""
    progress = loop.last_progress(run, mapped=True)
    if progress is None:
        return replace(listed, step=0)
    if progress.first and not (run.path / WEIGHTS).exists():
        raise UserError(f"it has no {WEIGHTS}")
    rows = run.metrics()
    return replace(
        listed,
        step=progress.step,
        metric=_monitored(rows, progress.best),
        best=progress.best,
        ended="" if progress.unreported else progress.finished,
    )


def _monitored(rows: list[dict[str, Any]], best: float | None) -> str | None:
    """Return the metric whose least value is the best one: what was monitored, of any algorithm's."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("valid_"))
    least = {name: min(row[name] for row in rows if name in row) for name in names}
    return next((name for name, value in least.items() if value == best), None)
