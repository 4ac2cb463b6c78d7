"""From a corpus and settings to a run: what `seqgen pretrain` and `seqgen adversarial` do, as functions.

`pretrain` and `adversarial` train to the end and return the run. `pretrain_job` and `adversarial_job` stop
short of training: a `Job` holds everything ready, so that the command line can show it and draw its progress.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen import algorithms
from seqgen.algorithms import finetune
from seqgen.algorithms.finetune import Pairs
from seqgen.core import device, settings
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.data import corpus as text
from seqgen.data.batches import Batches, encode_lines, in_order
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import load, run_folder
from seqgen.training.data_config import (
    Source,
    check_untokenised,
    lasting,
    length_limit,
    notes,
    slug,
    tokenizer_for,
)
from seqgen.training.job import ROOT, Job, versions
from seqgen.training.job import existing as existing_run
from seqgen.training.job import whole as whole_length
from seqgen.training.load import Trained
from seqgen.training.loop import Medium, Plan, Stream
from seqgen.training.run_folder import Run

__all__ = ["ROOT", "Job", "adversarial", "adversarial_job", "pretrain", "pretrain_job"]


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
    init: Run | Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device_name: str = "auto",
) -> Job:
    """Open the corpus, train or reload the tokenizer, and build the algorithm with its settings.

    Args:
        init: a run of the same algorithm on another corpus, to start from: its vocabulary, with the corpus's
            further words after it, and its weights; see `seqgen.algorithms.finetune`.
        path: the run folder; `runs/ALGORITHM-CORPUS` where not given. An unfinished run there is resumed.
        values: settings by (dotted) name, over the algorithm's defaults.
        steps: length of training in steps; otherwise `epochs`, otherwise the setting of that name.

    Raises:
        UserError: the corpus, a setting or the run folder is not what it must be.
    """
    cls = algorithms.get(algorithm, algorithms.PRETRAIN)
    start = None if init is None else _loaded(init, algorithm)
    config = settings.override(cls.Config(), finetune.shapes(start.run.config) if start else {})
    config = settings.override(config, dict(values or {}) | ({} if epochs is None else {"epochs": epochs}))
    if start:
        finetune.check(config, start.run.config)
        check_untokenised(source)
    where = device.pick(device_name)
    folder = Path(path) if path else ROOT / f"{algorithm}-{slug(source.corpus)}"
    source = lasting(source, folder)
    corpus = text.open_corpus(
        source.corpus, column=source.column, valid=source.valid, test=source.test, seed=seed
    )
    config = config.fitted(len(corpus.train))
    if start is None and getattr(config, "needs_source", False):
        raise UserError("contrastive.align or replay needs a run to start from; name one with --init")
    asked = {
        "verb": "pretrain",
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "source": asdict(source),
        "corpus_hash": corpus.hash,
        "seed": seed,
        "init": str(start.run.path.resolve()) if start else None,
    }
    existing = existing_run(folder, asked)
    if existing:
        tokenizer = Tokenizer.load(folder / run_folder.TOKENIZER)
    elif start:
        tokenizer = start.tokenizer.extended(corpus.train)
    else:
        tokenizer = tokenizer_for(source, corpus)
    return _job(
        cls,
        config,
        asked,
        folder,
        corpus,
        tokenizer,
        steps=steps,
        where=where,
        existing=existing,
        start=start,
    )


def _loaded(init: Run | Path | str, algorithm: str) -> Trained:
    """Read the run to start from; UserError where it is of another algorithm."""
    start = load.load(init if isinstance(init, Run) else Path(init), "cpu")
    name = start.run.config["algorithm"]
    if name != algorithm:
        other = f"; give 'seqgen pretrain {name}'" if name in algorithms.PRETRAIN else ""
        raise UserError(f"'{start.run.path}' is a run of {name}, not of {algorithm}{other}")
    return start


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
    load.check(found)
    if found.config["verb"] == "adversarial" and init is None:
        path, found = found.path, run_folder.open_run(Path(found.config["init"]))
    given = {} if steps is None else {"steps": steps}
    parts = {part: found.config["settings"][part] for part in cls.inherits}
    config = settings.override(cls.Config(), parts)
    config = settings.override(config, dict(values or {}) | given)
    finetune.check(config, found.config)
    folder = Path(path) if path else ROOT / f"{algorithm}-{slug(found.config['source']['corpus'])}"
    where = device.pick(device_name)
    start = load.load(found, "cpu")
    asked = {
        "verb": "adversarial",
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "source": found.config["source"],
        "corpus_hash": found.config["corpus_hash"],
        "seed": found.config["seed"] if seed is None else seed,
        "init": str(found.path.resolve()),
    }
    existing = existing_run(folder, asked)
    return _job(
        cls,
        config,
        asked,
        folder,
        start.corpus,
        start.tokenizer,
        steps=None,
        where=where,
        existing=existing,
        start=start,
    )


def _initial_run(
    init: Run | Path | str | None, path: Path | str | None, algorithm: str, starts_from: tuple[str, ...]
) -> Run:
    """Find the run to start from, or without `init` perhaps the game to go on with."""
    if init is not None:
        found = init if isinstance(init, Run) else run_folder.open_run(Path(init))
        name = found.config["algorithm"]
        if name not in starts_from:
            raise UserError(
                f"{algorithm} starts from a run of {' or '.join(starts_from)}; '{found.path}' is of {name}"
            )
        return found
    if path is not None and (Path(path) / run_folder.CONFIG).exists():
        return run_folder.open_run(Path(path))
    newest = run_folder.latest(ROOT)
    if newest is not None:
        found = run_folder.open_run(newest)
        if found.config["algorithm"] in (algorithm, *starts_from):
            return found
    fitting = [each for each in run_folder.newest_first(ROOT) if each.config["algorithm"] in starts_from]
    if not fitting:
        raise UserError(
            f"no run of {' or '.join(starts_from)} under 'runs/' to start from; "
            f"run 'seqgen pretrain {starts_from[0]}' first, or name one with --init"
        )
    return fitting[0]


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
    start: Trained | None = None,
) -> Job:
    limit = length_limit(Source(**asked["source"]), tokenizer)
    train = encode_lines(corpus.train, tokenizer, max_length=limit)
    valid = encode_lines(corpus.valid, tokenizer, max_length=limit)
    batches = Batches(train, config.read_size, seed=asked["seed"], bucket_by_length=cls.bucket_by_length)
    stream: Stream = batches
    if start is not None and getattr(config, "replay", False):
        ids = encode_lines(start.corpus.train, tokenizer, max_length=limit)
        stream = Pairs(
            batches, Batches(ids, config.read_size, seed=asked["seed"], bucket_by_length=cls.bucket_by_length)
        )
    whole = whole_length(steps or config.total_steps(len(batches)), existing)
    facts = {
        "vocab_size": tokenizer.vocab_size,
        "length": int(train.lengths().max()),
        "steps": whole,
        "grammar": corpus.grammar,
        "sizes": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
        "removed": corpus.removed,
    }
    made = Run(folder, (existing.config if existing else versions()) | asked | facts)
    torch.manual_seed(asked["seed"])
    algorithm = load.build(made.config)
    if start is not None and asked["verb"] == "adversarial":
        algorithm.start_from(start.algorithm)
    elif start is not None:
        grew = tokenizer.vocab_size > start.tokenizer.vocab_size
        unknown = grew and not existing and _has_seen_unknown(start, limit)
        finetune.adopt(algorithm, start.algorithm.state_dict(), unknown=unknown)
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
    if start is not None:
        said.insert(0, f"starts from: {start.run.path}")
    medium = Medium("tokens", finetune.real_tokens, 10, partial(_write_sentences, tokenizer))
    files = {} if existing else {run_folder.TOKENIZER: tokenizer.to_json()}
    return Job(made, algorithm, stream, validation, plan, where, medium, said, files)


def _has_seen_unknown(start: Trained, limit: int) -> bool:
    """Say whether a run's corpus had unknown words, as most have; a run whose corpus is gone still serves."""
    try:
        corpus = start.corpus
    except UserError:
        return True
    return bool(encode_lines(corpus.train, start.tokenizer, max_length=limit).unknown)


def _write_sentences(tokenizer: Tokenizer, path: Path, samples: Tensor) -> None:
    write_text(path.with_suffix(".txt"), "\n".join(load.decode(tokenizer, samples)) + "\n")


@dataclass(frozen=True)
class _Validation:
    """The validation split as batches on a device, as often as asked for."""

    ids: Any
    batch_size: int
    device: torch.device

    def __iter__(self) -> Any:
        for tokens, _ in in_order(self.ids, self.batch_size):
            yield tokens.to(self.device)
