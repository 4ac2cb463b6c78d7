"""From a corpus and settings to a run: what `seqgen pretrain` and `seqgen adversarial` do, as functions.

`pretrain` and `adversarial` train to the end and return the run. `pretrain_job` and `adversarial_job` stop
short of training: a `Job` holds everything ready, so that the command line can show it and draw its progress.
"""

import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen import algorithms, device, loop, run, settings, text, trained
from seqgen.batches import Batches, encode_lines, in_order
from seqgen.errors import UserError
from seqgen.loop import Plan, Progress
from seqgen.run import Run
from seqgen.source import Source, lasting, length_limit, notes, slug, tokenizer_for
from seqgen.tokenizer import Tokenizer

ROOT = Path("runs")


@dataclass
class Job:
    """A training ready to start or to go on."""

    run: Run
    algorithm: Any
    tokenizer: Tokenizer
    batches: Batches
    validation: Iterable[Tensor]
    plan: Plan
    device: torch.device
    notes: list[str] = field(default_factory=list)
    """What the user should know before it starts."""

    def train(self, observe: loop.Observer = lambda progress, report: None) -> Progress:
        """Train to the end, from the last checkpoint if there is one."""
        with run.locked(self.run.path):
            run.mark_latest(self.run.path)
            return loop.train(
                self.algorithm,
                self.batches,
                self.validation,
                self.run,
                self.plan,
                device=self.device,
                decode=partial(trained.decode, self.tokenizer),
                observe=observe,
            )


def pretrain(corpus: str = "scenes", algorithm: str = "mle", **options: Any) -> Run:
    """Train a likelihood model on a corpus and return its run; the options are those of `pretrain_job`."""
    source = Source(corpus=corpus, **{key: options.pop(key) for key in list(options) if key in _SOURCE_KEYS})
    job = pretrain_job(source, algorithm, **options)
    job.train()
    return job.run


def adversarial(init: Run | Path | str | None = None, algorithm: str = "seqgan", **options: Any) -> Run:
    """Train a generator against a discriminator and return its run; options as of `adversarial_job`."""
    job = adversarial_job(init, algorithm, **options)
    job.train()
    return job.run


_SOURCE_KEYS = frozenset(Source.__dataclass_fields__) - {"corpus"}


def pretrain_job(
    source: Source,
    algorithm: str = "mle",
    *,
    path: Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device_name: str = "auto",
) -> Job:
    """Open the corpus, train or reload the tokenizer, and build the algorithm with its settings.

    Args:
        path: the run folder; `runs/ALGORITHM-CORPUS` where not given. An unfinished run there is resumed.
        values: settings by (dotted) name, over the algorithm's defaults.
        steps: length of training in steps; otherwise `epochs`, otherwise the setting of that name.

    Raises:
        UserError: the corpus, a setting or the run folder is not what it must be.
    """
    cls = algorithms.get(algorithm, algorithms.PRETRAIN)
    config = settings.override(
        cls.Config(), dict(values or {}) | ({} if epochs is None else {"epochs": epochs})
    )
    where = device.pick(device_name)
    folder = Path(path) if path else ROOT / f"{algorithm}-{slug(source.corpus)}"
    source = lasting(source, folder)
    corpus = text.open_corpus(
        source.corpus, column=source.column, valid=source.valid, test=source.test, seed=seed
    )
    config = config.fitted(len(corpus.train))
    asked = {
        "verb": "pretrain",
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "source": asdict(source),
        "corpus_hash": corpus.hash,
        "seed": seed,
        "init": None,
    }
    existing = _existing(folder, asked)
    tokenizer = Tokenizer.load(folder / run.TOKENIZER) if existing else tokenizer_for(source, corpus)
    return _job(cls, config, asked, folder, corpus, tokenizer, steps=steps, where=where, existing=existing)


def adversarial_job(
    init: Run | Path | str | None = None,
    algorithm: str = "seqgan",
    *,
    path: Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device_name: str = "auto",
) -> Job:
    """Start adversarial training from a pretrained run: its corpus, tokenizer, generator and seed.

    Without `init` the latest run under `runs/` is taken: a pretrained one starts a new game, an adversarial
    one goes on. `steps` are updates of the generator; the other arguments are those of `pretrain_job`.
    """
    cls = algorithms.get(algorithm, algorithms.ADVERSARIAL)
    found = _initial_run(init, path, algorithm, cls.starts_from)
    if found.config["verb"] == "adversarial" and init is None:
        path, found = found.path, run.open_run(Path(found.config["init"]))
    given = {} if steps is None else {"steps": steps}
    parts = {part: found.config["settings"][part] for part in cls.inherits}
    config = settings.override(cls.Config(), parts)
    config = settings.override(config, dict(values or {}) | given)
    folder = Path(path) if path else ROOT / f"{algorithm}-{slug(found.config['source']['corpus'])}"
    where = device.pick(device_name)
    start = trained.load(found, "cpu")
    asked = {
        "verb": "adversarial",
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "source": found.config["source"],
        "corpus_hash": found.config["corpus_hash"],
        "seed": found.config["seed"] if seed is None else seed,
        "init": str(found.path.resolve()),
    }
    existing = _existing(folder, asked)
    job = _job(
        cls,
        config,
        asked,
        folder,
        start.corpus,
        start.tokenizer,
        steps=None,
        where=where,
        existing=existing,
        weights=start.algorithm.state_dict(),
    )
    job.notes.insert(0, f"starts from: {found.path}")
    return job


def _initial_run(
    init: Run | Path | str | None, path: Path | str | None, algorithm: str, starts_from: tuple[str, ...]
) -> Run:
    """Find the run to start from, or without `init` perhaps the game to go on with."""
    if init is not None:
        found = init if isinstance(init, Run) else run.open_run(Path(init))
        name = found.config["algorithm"]
        if name not in starts_from:
            raise UserError(
                f"{algorithm} starts from a run of {' or '.join(starts_from)}; '{found.path}' is of {name}"
            )
        return found
    if path is not None and (Path(path) / run.CONFIG).exists():
        return run.open_run(Path(path))
    newest = run.latest(ROOT)
    if newest is not None:
        found = run.open_run(newest)
        if found.config["algorithm"] in (algorithm, *starts_from):
            return found
    fitting = [each for each in run.newest_first(ROOT) if each.config["algorithm"] in starts_from]
    if not fitting:
        raise UserError(
            f"no run of {' or '.join(starts_from)} under 'runs/' to start from; "
            f"run 'seqgen pretrain {starts_from[0]}' first, or name one with --init"
        )
    return fitting[0]


def _existing(folder: Path, asked: Mapping[str, Any]) -> Run | None:
    """Return the run in a folder if it is the one asked for; UserError where it is another."""
    if not (folder / run.CONFIG).exists() or not (folder / run.TOKENIZER).exists():
        return None
    existing = run.open_run(folder)
    for key, value in settings.flatten(asked).items():
        if key in ("settings.epochs", "settings.steps"):
            continue  # a longer training of the same run is the same run
        before = settings.flatten(existing.config).get(key)
        if before != value:
            raise UserError(
                f"'{folder}' holds a run with {key}={before}, not {value}; choose another --run, or delete it"
            )
    return existing


def _job(
    cls: Any,
    config: Any,
    asked: dict[str, Any],
    folder: Path,
    corpus: text.Corpus,
    tokenizer: Tokenizer,
    *,
    steps: int | None,
    where: torch.device,
    existing: Run | None,
    weights: dict[str, Tensor] | None = None,
) -> Job:
    limit = length_limit(Source(**asked["source"]), tokenizer)
    train = encode_lines(corpus.train, tokenizer, max_length=limit)
    valid = encode_lines(corpus.valid, tokenizer, max_length=limit)
    batches = Batches(train, config.read_size, seed=asked["seed"], grouped=cls.grouped)
    whole = steps or config.total_steps(len(batches))
    facts = {
        "vocab_size": tokenizer.vocab_size,
        "length": int(train.lengths().max()),
        "steps": whole,
        "grammar": corpus.grammar,
        "sizes": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
        "removed": corpus.removed,
    }
    made = existing or run.create(folder, _versions() | asked | facts)
    if existing and whole != existing.config["steps"]:
        made = run.create(folder, existing.config | asked | facts)
    if not existing:
        run.write_text(folder / run.TOKENIZER, tokenizer.to_json())
    torch.manual_seed(asked["seed"])
    algorithm = trained.build(made.config)
    if weights is not None:
        algorithm.start_from(weights)
    algorithm.to(where)
    algorithm.configure()
    # An epoch, unless it is so short that reports would take longer than training, or so long that one waits.
    report_every = config.report_every or min(max(len(batches), 50), 1000)
    plan = Plan(
        steps=whole,
        report_every=report_every,
        checkpoint_every=report_every,
        patience=getattr(config, "patience", None),
        seed=asked["seed"],
    )
    validation = _Validation(valid, 256, where)
    said = notes(corpus, tokenizer, train, valid, limit)
    return Job(made, algorithm, tokenizer, batches, validation, plan, where, said)


@dataclass(frozen=True)
class _Validation:
    """The validation split as batches on a device, as often as asked for."""

    ids: Any
    batch_size: int
    device: torch.device

    def __iter__(self) -> Any:
        for tokens, _ in in_order(self.ids, self.batch_size):
            yield tokens.to(self.device)


def _versions() -> dict[str, Any]:
    return {
        "seqgen": version("seqgen"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["seqgen", *sys.argv[1:]]) if Path(sys.argv[0]).name == "seqgen" else "",
    }
