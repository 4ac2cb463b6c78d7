"""A training ready to start, text or image: what the commands that train make, show and carry out."""

import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seqgen.algorithms.base import Algorithm
from seqgen.core import compiled, distributed, settings
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.core.random_state import RandomStream
from seqgen.training import latest_link, loop, paths, run_folder, time_budget
from seqgen.training.loop import Medium, Plan, Progress, Stream
from seqgen.training.run_folder import Run

ROOT = Path("runs")
MOST_STEPS_BETWEEN_REPORTS = 1000
HASHES = {
    "corpus_hash": "on another text, or with other held-out sentences",
    "data_hash": "on other images",
    "init_hash": "that started from another run",
    "teacher_hash": "that learns from another teacher",
}
"""What is known by its content, and how a run differs where that is another. It is compared last, as a
setting that differs, such as the seed, may be the reason."""
MAY_DIFFER = {
    *("settings.epochs", "settings.steps"),  # a longer training of the same run is the same run
    *("data", "data.corpus", "data.column", "data.encoding", "data.separator"),  # known by its hash
    *("data.valid", "data.test", "init", "teacher"),
}
"""Keys of a configuration by which a run is not another one."""


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
    check: Callable[[], object] = lambda: None
    """Raises UserError where the folder holds another run than the one asked for."""
    randomness: RandomStream = field(default_factory=RandomStream)
    """The random numbers that it goes on from."""
    is_compiled: bool = False
    """Whether torch compiles its networks."""

    def train(
        self,
        observe: loop.Observer = lambda progress, report: None,
        *,
        train_fold: Callable[["Job"], object] = lambda job: job.train(),
    ) -> Progress:
        """Train to the end, from the last checkpoint if there is one; before that nothing is written.

        `train_fold` trains what goes before, of which every finished part is left as it is. A training that
        has been done is left as it is, too: its folder may be one that can only be read.
        """
        distributed.wait_for_all()  # until each has read what is in the folder
        with self._held() as self.run.held:
            distributed.wait_for_all()
            self.check()  # another process may have trained here since this one looked
            is_done = loop.has_done(self.run, self.plan)
            if self.folds and not is_done:
                runs = []
                for make in self.folds:
                    job = make()
                    train_fold(job)
                    runs.append(job.run)
                self.randomness = job.randomness  # the last one's go on
                with self.randomness:
                    self.use_folds(runs)
            distributed.wait_for_all()
            if distributed.is_writer():
                self._write(is_done)
            with compiled.explained(self.is_compiled):
                return loop.train(
                    self.algorithm,
                    self.batches,
                    self.validation,
                    self.run,
                    self.plan,
                    device=self.device,
                    medium=self.medium,
                    randomness=self.randomness,
                    observe=observe,
                )

    def _held(self) -> AbstractContextManager[int | None]:
        """Hold the run folder; of several processes, the one that writes holds it."""
        return run_folder.locked(self.run.path) if distributed.is_writer() else nullcontext()

    def _write(self, is_done: bool) -> None:
        """Write what the folder holds before the first report, unless the training has been done."""
        if not is_done:
            run_folder.write_config(self.run)
            for name, content in self.files.items():
                write_text(self.run.writable(name), content)
        latest_link.mark_latest(self.run.path)


@dataclass(frozen=True)
class Request:
    """What a training command asks for, and the run folder where it is, or shall be."""

    folder: Path
    config: Mapping[str, Any]
    """What the run's configuration must say; only the length of training may differ."""
    defaults: Any
    """The algorithm's settings; a run that was written before a setting existed has its default."""
    existing: Run | None
    """The run in the folder, if it has begun."""

    def check(self) -> None:
        """Raise UserError where the folder by now holds another run than the one asked for."""
        request(self.folder, self.config, self.defaults)

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
        run_folder.check_is_free(folder)
        return Request(folder, config, defaults, None)
    if not (folder / run_folder.CONFIG).exists():
        raise UserError(
            f"'{folder}' holds {begun[0]} but no {run_folder.CONFIG}; restore it, or choose another --run"
        )
    found = run_folder.open_run(folder)
    before = settings.flatten({"settings": settings.to_dict(defaults)}) | settings.flatten(found.config)
    now = settings.flatten(config)
    for key in sorted((key for key in now if key not in MAY_DIFFER), key=lambda key: key in HASHES):
        if _is_same(key, before, now, folder):
            continue
        difference = HASHES.get(key, f"with {key}={before.get(key)}, not {now[key]}")
        raise UserError(f"'{folder}' holds a run {difference}; choose another --run")
    return Request(folder, config, defaults, found)


def _is_same(key: str, before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> bool:
    """Whether a run and what is asked for agree; a run to start from and a tokenizer may have moved."""
    one, other = before.get(key), now[key]
    if key == "init_hash" and other is not None:
        places = (before.get("init"), now["init"])
        return one == other or len({paths.from_store(str(place), folder) for place in places}) == 1
    if key == "data.tokenizer" and isinstance(one, str) and "/" in one and "/" in other:
        return True  # its content is compared where it is read
    return one == other


def assemble(
    asked: Request,
    config: Any,
    *,
    build: Callable[[dict[str, Any]], Algorithm],
    start: Callable[[Algorithm], None] = lambda algorithm: None,
    facts: Mapping[str, Any],
    steps: int | None,
    minutes: float | None = None,
    fit: Callable[[int], Any] | None = None,
    fewest_steps_between_reports: Callable[[int], int],
    batches: Stream,
    validation: Iterable[Any],
    device: torch.device,
    medium: Medium,
    notes: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    compile: bool = False,
) -> Job:
    """Build the algorithm that a request asks for, and return the training ready to start.

    Args:
        config: its settings.
        build: from a run's configuration to an algorithm with fresh weights.
        start: gives it the weights of another run, where it starts from one.
        facts: what else the run's configuration says.
        steps: length of training; that of the settings where not given.
        minutes: length of training in their place; its first steps are timed (`seqgen.training.time_budget`).
        fit: from that length to settings with what was left to it filled in.
        fewest_steps_between_reports: by the length, where the settings leave it to an epoch.
        compile: let torch compile the networks, where it can here (`seqgen.core.compiled`).
    """
    if steps is not None and steps < 1:
        raise UserError(f"steps={steps}: the length of training must be at least 1 step")
    _check_divisible(config.batch_size)
    epoch = len(batches)
    lacks = compiled.obstacle(device) if compile else None
    run = Run(asked.folder, asked.run_config(facts))

    def report_every(length: int) -> int:
        # An epoch, unless it is so short that reports would take longer than training, or one waits for it.
        fewest = fewest_steps_between_reports(length)
        return config.report_every or min(max(epoch, fewest), MOST_STEPS_BETWEEN_REPORTS)

    def make(values: Mapping[str, Any]) -> tuple[Algorithm, RandomStream]:
        with RandomStream() as randomness:
            torch.manual_seed(asked.config["seed"])
            algorithm = build(run.config | {"settings": values})
            start(algorithm)
            algorithm.to(device)
            algorithm.configure()
            if compile and not lacks:
                compiled.compile_networks(algorithm)
        return algorithm, randomness

    length = config.total_steps(epoch) if steps is None else steps
    run.config.pop("minutes", None)  # of a run that goes on by another length
    timed: list[str] = []
    if minutes is not None:
        first = length - config.steps if hasattr(config, "steps") else 0
        measured = partial(
            time_budget.measure,
            make,
            run.config["settings"],
            batches,
            validation,
            device=device,
            medium=medium,
        )
        length, timed = time_budget.fix_steps(
            minutes, asked.existing, measured, first_steps=first, report_every=report_every(length)
        )
        run.config["minutes"] = minutes
        if fit is not None and asked.existing is None:
            asked = replace(asked, config={**asked.config, "settings": settings.to_dict(fit(length))})
            run = Run(asked.folder, run.config | {"settings": asked.config["settings"]})
        if hasattr(config, "steps"):
            run.config["settings"] = run.config["settings"] | {"steps": length - first}
    run.config["steps"] = max(length, _steps_done(asked.existing))
    algorithm, randomness = make(run.config["settings"])
    lacking = [lacks] if lacks else compiled.notes(algorithm) if compile else []
    every = report_every(length)
    plan = Plan(
        steps=length,
        report_every=every,
        checkpoint_every=every,
        patience=config.patience,
        seed=asked.config["seed"],
    )
    return Job(
        run,
        algorithm,
        batches,
        validation,
        plan,
        device,
        medium,
        notes=[*notes, *timed, *lacking, *_threads_note(asked.existing, length, device)],
        files=files or {},
        check=asked.check,
        randomness=randomness,
        is_compiled=compile and not lacks,
    )


def _check_divisible(batch_size: int) -> None:
    """Raise UserError where a batch has not as many rows for each of several processes."""
    count = distributed.count()
    if batch_size % count:
        raise UserError(
            f"a batch of batch_size={batch_size} cannot be divided among {count} processes; give --set "
            f"batch_size={-(-batch_size // count) * count}, or another number of processes"
        )


def _threads_note(existing: Run | None, length: int, device: torch.device) -> list[str]:
    """Say where a training goes on with another number of threads, which add up numbers in another order."""
    before, now = existing.config.get("threads") if existing else None, torch.get_num_threads()
    if before in (None, now) or device.type != "cpu" or _steps_done(existing) >= length:
        return []
    return [
        f"the run was begun with {before} CPU threads and goes on with {now}, which round differently: it "
        f"will not be bit for bit that of one go; --threads {before} makes it so"
    ]


def _steps_done(existing: Run | None) -> int:
    reports = existing.metrics() if existing else []
    return reports[-1]["step"] if reports else 0


def versions() -> dict[str, Any]:
    """Return what made a run: the versions, the number of CPU threads and the command."""
    is_command = Path(sys.argv[0]).name == "seqgen" or Path(sys.argv[0]).parent.name == "seqgen"
    return {
        "seqgen": version("seqgen"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(["seqgen", *sys.argv[1:]]) if is_command else "",
    }
