"""The run folder: what a training writes, whole at every moment, to be read, replayed and resumed.

config.json        format, command, algorithm, settings, data and their hash, seed, versions
tokenizer.json     loads with tokenizers.Tokenizer.from_file
model.safetensors  the best weights by the algorithm's monitor
state.pt           optimisers, step, batch order, random state, last weights
metrics.jsonl      one object a report; the same as TensorBoard events
samples/           what the generator wrote at each report
"""

import contextlib
import hashlib
import json
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from seqgen.core.atomic_files import write_atomic, write_bytes, write_text
from seqgen.core.errors import UserError, is_out_of_memory
from seqgen.core.settings import LARGEST
from seqgen.core.untrusted import check_regular, is_of, parse_nested, read_regular
from seqgen.training import checkpoint, latest_link, run_config
from seqgen.training.folder_lock import LOCK, check_link, is_at, take_lock

CONFIG, TOKENIZER, WEIGHTS, STATE, METRICS = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "state.pt",
    "metrics.jsonl",
)
MOST_CONFIG, MOST_METRICS = 1 << 22, 1 << 30
"""Bytes of config.json and metrics.jsonl, at most."""

FORMAT = 1
"""The format of a run folder; raise it when a run of an earlier version could not be read or resumed."""
READ_BYTES = 1 << 20
WRITTEN = (CONFIG, TOKENIZER, WEIGHTS, STATE, METRICS, "samples", "tensorboard", "folds", LOCK)
"""The parts of a run folder that training writes."""


@dataclass
class Run:
    """A run folder and its configuration."""

    path: Path
    config: dict[str, Any]
    held: int | None = None
    """Descriptor of the folder while this process trains in it."""

    def writable(self, name: str) -> Path:
        """Return where a part of the run is to be written.

        UserError where it is a link that leads out of the folder, and where the folder in which this process
        trains is no longer at its path, or no longer a run: what is there now is not to be written to.
        """
        is_run = name == CONFIG or (self.path / CONFIG).exists()  # the first that is written
        if self.held is not None and not (is_run and is_at(self.path, self.held)):
            raise UserError(
                f"'{self.path}' was deleted, moved or replaced while it was being trained, so training has "
                "stopped; put it back, and the same command goes on from its last checkpoint"
            )
        check_link(self.path / name, self.path)
        return self.path / name

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def metrics(self) -> list[dict[str, Any]]:
        """Read every report so far, its numbers; a line that is none, as one torn by a crash, is left out."""
        path = self.path / METRICS
        content = read_regular(path, most=MOST_METRICS) if path.exists() else b""
        return [row for line in content.splitlines() if (row := _report_in(line)) is not None]


def _report_in(line: bytes) -> dict[str, Any] | None:
    """Return the numbers of a line of metrics.jsonl; None where it is no report."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not is_of(int, found.get("step")) or not 0 <= found["step"] <= LARGEST:
        return None
    is_small = lambda value: isinstance(value, float) or abs(value) <= LARGEST  # noqa: E731
    return {
        name: value for name, value in found.items() if isinstance(value, int | float) and is_small(value)
    }


def create(path: Path, config: dict[str, Any]) -> Run:
    """Start a run folder with its configuration."""
    path.mkdir(parents=True, exist_ok=True)
    made = Run(path, config)
    write_config(made)
    return made


def write_config(run: Run) -> None:
    """Write a run's configuration."""
    write_text(run.writable(CONFIG), json.dumps(run.config, indent=2, ensure_ascii=False) + "\n")


def check_is_free(path: Path) -> None:
    """Raise UserError where a run that begins in a folder would replace files that are not those of a run."""
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file, and --run names a folder; choose another --run")
    theirs = [name for name in (TOKENIZER, METRICS) if (path / name).exists()]
    if (path / CONFIG).exists():
        try:
            _read_config(path)
            theirs = []
        except (OSError, ValueError):
            theirs = [CONFIG]
    if theirs:
        raise UserError(
            f"'{path}' holds a {theirs[0]} that is not a run's, which training would replace; choose another "
            "--run"
        )


def open_run(path: Path) -> Run:
    """Open a run folder, or the one that a `latest` names; UserError where it is missing or not a run."""
    path = latest_link.named_in(path) or path
    if path.is_symlink() and not path.exists():
        raise UserError(
            f"'{path}' is a link to '{path.readlink()}', which is not there any more; name the run itself "
            "with --run"
        )
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file, and a run is a folder; name the folder of a run")
    if not path.is_dir():
        option = f"--run {shlex.quote(str(path))}"
        raise UserError(
            f"no run at '{path}'; name the folder of one, which 'seqgen runs' lists, or "
            f"train one there, as with: seqgen pretrain {option}, or: seqgen image train {option}"
        )
    try:
        config = _read_config(path)
        if config.get("format") != FORMAT:
            raise UserError(
                f"'{path}' is a run of format {config.get('format')}, and this version of seqgen reads "
                f"format {FORMAT}; train it again, or use the version of seqgen that its {CONFIG} names"
            )
        run_config.check(config)
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
    return Run(path, run_config.completed(config))


def _read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of the run in a folder; ValueError where it is that of something else."""
    config = parse_nested(json.loads, read_regular(path / CONFIG, most=MOST_CONFIG))
    if not isinstance(config, dict) or not {"algorithm", "verb"} <= config.keys():
        raise ValueError("it names no algorithm or no verb")
    return config


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int | None]:
    """Hold a run folder for one process, and give a descriptor of it, where the system has such.

    A folder that nobody may write to is not locked: nothing can be trained in it. UserError where another
    process is training in it, or where a part of it is a link that leads out of it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = path / LOCK
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        raise UserError(f"'{lock}' is no regular file, as another program or person made it; remove it")
    for part in (*(path / name for name in WRITTEN), *path.glob("samples/*")):
        check_link(part, path)
    with contextlib.ExitStack() as stack:
        if os.access(path, os.W_OK):
            stack.enter_context(take_lock(path))
        held = os.open(path, os.O_RDONLY) if hasattr(os, "O_DIRECTORY") else None
        if held is not None:
            stack.callback(os.close, held)
        yield held


def newest(root: Path, fits: Callable[[Run], bool]) -> Run | None:
    """Return the run under a folder that was trained last of those that fit; None where there is none.

    It is what `latest` names if that fits, else the one whose weights are the last written. A broken run does
    not hide the others.
    """
    named = latest_link.latest(root)
    if named is not None:
        with contextlib.suppress(UserError):
            found = open_run(named)
            if fits(found):
                return found
    return next(filter(fits, newest_first(root)), None)


def newest_first(root: Path) -> list[Run]:
    """Open every run under a folder that has weights, the last written first; other folders are left out."""
    written = sorted(root.glob(f"*/{WEIGHTS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    folders = dict.fromkeys(path.parent.resolve() for path in written)
    found = []
    for folder in folders:
        with contextlib.suppress(UserError):
            found.append(open_run(root / folder.name))
    return found


def save_weights(run: Run, weights: dict[str, Tensor]) -> None:
    """Write a state dict as model.safetensors; tensors that share memory are written once each."""
    copies: dict[str, Tensor] = {}
    written = set()
    for name, tensor in weights.items():
        copy = tensor.detach().cpu().contiguous()
        memory = copy.untyped_storage().data_ptr()
        copies[name] = copy.clone() if memory in written else copy
        written.add(memory)
    write_bytes(run.writable(WEIGHTS), safetensors.torch.save(copies, metadata={"format": "pt"}))


def load_weights(run: Run, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read model.safetensors onto a device; UserError where it is missing or corrupt."""
    path = run.path / WEIGHTS
    if not path.exists():
        raise UserError(
            f"run '{run.path}' has no weights yet; let its training reach its first report: the command that "
            "began it goes on with it"
        )
    _check_readable(path)
    try:
        return safetensors.torch.load_file(path, device=str(device))
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"'{path}' is corrupt or no safetensors file ({error}); restore it from a copy, or train again "
            "in another folder"
        ) from error


def _check_readable(path: Path) -> None:
    """Read a file once, and raise UserError where the system refuses that, which is no damage of the file."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            while file.read(READ_BYTES):
                pass
    except OSError as error:
        raise UserError(
            f"cannot read '{path}': {error.strerror or error}; the file itself may be good, so keep it, mend "
            "that and run the same command again"
        ) from error


def weights_hash(path: Path) -> str:
    """Return the SHA-256 of the weights of the run in a folder, in hex."""
    weights = path / WEIGHTS
    _check_readable(weights)
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_into(module: nn.Module, run: Run) -> None:
    """Put a run's kept weights into its model; UserError where they are missing, corrupt or of another."""
    weights = load_weights(run)
    try:
        with warnings.catch_warnings(action="ignore"):  # of numbers of another type
            module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"'{run.path / WEIGHTS}' does not fit the model of its {CONFIG}; it is of another run"
        ) from error
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise UserError(
                f"'{run.path / WEIGHTS}' is damaged: {name} holds numbers that are not finite; restore it or "
                "train again"
            )


def save_state(run: Run, state: dict[str, Any]) -> None:
    """Write all that resuming needs."""

    def write(file: IO[bytes]) -> None:
        sink = _Sink(file)
        try:
            torch.save(state, sink)  # type: ignore[arg-type]
        except (OSError, RuntimeError) as error:
            raise sink.error or error from None

    write_atomic(run.writable(STATE), write)


class _Sink:
    """A file for torch to write to, which reports the failure of a disk as an error of its own format."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def load_state(run: Run, *, mapped: bool = False) -> dict[str, Any] | None:
    """Read what resuming needs onto the CPU; None before the first checkpoint, UserError where corrupt.

    mapped: leave its tensors on the disk, for who asks for the rest of it.
    """
    path = run.path / STATE
    if not path.exists():
        return None
    if mapped:
        check_regular(path)
    else:
        _check_readable(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            checkpoint.check_archive(file)
            source: Any = str(path) if mapped else file
            state = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(state, dict):
            raise ValueError("no checkpoint")
        checkpoint.check_hooks(state)
        return state
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch's reader raises whatever damaged bytes lead it to
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"'{path}' is corrupt ({type(error).__name__}), and training cannot go on from it; restore it "
            f"from a copy, or train again in another folder ({WEIGHTS} is another file, and serves as before)"
        ) from error


def samples_name(step: int) -> str:
    """Return the name, without its ending, of the file in `samples/` that a report writes after a step."""
    return f"step-{step:07d}"


def append_metrics(run: Run, row: dict[str, Any]) -> None:
    """Add one report to metrics.jsonl and flush it to disk."""
    with run.writable(METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def forget_after(run: Run, step: int) -> None:
    """Drop the reports after `step`: a resumed run makes them again."""
    kept = [row for row in run.metrics() if row["step"] <= step]
    write_text(run.writable(METRICS), "".join(json.dumps(row) + "\n" for row in kept))
