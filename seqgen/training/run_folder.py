"""The run folder: what a training writes, whole at every moment, to be read, replayed and resumed.

config.json        format, command, algorithm, settings, data and their hash, seed, versions
tokenizer.json     loads with tokenizers.Tokenizer.from_file
model.safetensors  the best weights by the algorithm's monitor
state.pt           optimisers, step, batch order, random state, last weights
metrics.jsonl      one object a report; the same as TensorBoard events
samples/           what the generator wrote at each report
"""

import contextlib
import io
import json
import os
import pickle
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import safetensors.torch
import torch
from torch import Tensor, nn

from seqgen.core.atomic_files import write_bytes, write_text
from seqgen.core.errors import UserError

CONFIG, TOKENIZER, WEIGHTS, STATE, METRICS = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "state.pt",
    "metrics.jsonl",
)


FORMAT = 1
"""The format of a run folder; raise it when a run of an earlier version could not be read or resumed."""


@dataclass
class Run:
    """A run folder and its configuration."""

    path: Path
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def metrics(self) -> list[dict[str, Any]]:
        """Read every report so far; a line torn by a crash is left out."""
        rows = []
        path = self.path / METRICS
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
                if isinstance(row, dict) and "step" in row:
                    rows.append(row)
        return rows


def create(path: Path, config: dict[str, Any]) -> Run:
    """Start a run folder with its configuration."""
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    return Run(path, config)


def open_run(path: Path) -> Run:
    """Open a run folder; UserError where it is missing or not a run."""
    if not path.is_dir():
        option = f"--run {shlex.quote(str(path))}"
        raise UserError(
            f"no run at '{path}'; train one there, as with: seqgen pretrain {option}, or: "
            f"seqgen image train {option}; or name another with --run"
        )
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not {"algorithm", "verb"} <= config.keys():
            raise ValueError("it names no algorithm or no verb")
        if config.get("format") != FORMAT:
            raise UserError(
                f"'{path}' is a run of format {config.get('format')}, and this version of seqgen reads "
                f"format {FORMAT}; train it again, or use the version of seqgen that its {CONFIG} names"
            )
    except FileNotFoundError as error:
        raise UserError(
            f"'{path}' is not a run folder: it has no {CONFIG}; give a folder that seqgen trained"
        ) from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"'{path / CONFIG}' is not a seqgen configuration: {error}; restore it or train again"
        ) from error
    return Run(path, config)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder for one process; UserError where another is training in it."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"another process is training in '{path}'; wait for it or choose another --run"
        ) from error


def latest(root: Path) -> Path | None:
    """Return the run that `root/latest` names, or None."""
    link = root / "latest"
    return root / os.readlink(link) if link.is_symlink() and link.exists() else None


def newest_first(root: Path) -> list[Run]:
    """Open every run under a folder that has weights, the last written first; other folders are left out."""
    written = sorted(root.glob(f"*/{WEIGHTS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    folders = dict.fromkeys(path.parent.resolve() for path in written)
    found = []
    for folder in folders:
        with contextlib.suppress(UserError):
            found.append(open_run(root / folder.name))
    return found


def mark_latest(path: Path) -> None:
    """Point the `latest` beside a run at it."""
    link = path.parent / "latest"
    if link.exists() and not link.is_symlink():
        return  # a folder of the user's own bears the name
    temporary = path.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.name)
    temporary.replace(link)


def save_weights(run: Run, weights: dict[str, Tensor]) -> None:
    """Write a state dict as model.safetensors; tensors that share memory are written once each."""
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_bytes(run.path / WEIGHTS, safetensors.torch.save(copies, metadata={"format": "pt"}))


def load_weights(run: Run, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read model.safetensors onto a device; UserError where it is missing or corrupt."""
    path = run.path / WEIGHTS
    try:
        return safetensors.torch.load_file(path, device=str(device))
    except FileNotFoundError as error:
        raise UserError(
            f"run '{run.path}' has no weights yet; let its training reach its first report, or delete the "
            "folder and train again"
        ) from error
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"'{path}' is corrupt or no safetensors file ({error}); restore it, or delete the folder and "
            "train again"
        ) from error


def load_into(module: nn.Module, run: Run) -> None:
    """Put a run's kept weights into its model; UserError where they are missing, corrupt or of another."""
    weights = load_weights(run)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"'{run.path / WEIGHTS}' does not fit the model of its {CONFIG}; it is of another run"
        ) from error


def save_state(run: Run, state: dict[str, Any]) -> None:
    """Write all that resuming needs."""
    # Through memory: torch's own writer reports a full disk as an error of the format.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(run.path / STATE, buffer.getvalue())


def load_state(run: Run) -> dict[str, Any] | None:
    """Read what resuming needs onto the CPU; None before the first checkpoint, UserError where corrupt."""
    path = run.path / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("no checkpoint")
        return state
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:
        raise UserError(
            f"'{path}' is corrupt ({type(error).__name__}); delete it to start this run from the beginning"
        ) from error


def append_metrics(run: Run, row: dict[str, Any]) -> None:
    """Add one report to metrics.jsonl and flush it to disk."""
    with (run.path / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def forget_after(run: Run, step: int) -> None:
    """Drop the reports after `step`: a resumed run makes them again."""
    kept = [row for row in run.metrics() if row["step"] <= step]
    write_text(run.path / METRICS, "".join(json.dumps(row) + "\n" for row in kept))
