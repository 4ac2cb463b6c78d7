"""From a corpus and settings to a run: what `seqgen pretrain` and `seqgen adversarial` do, as functions.

`pretrain` and `adversarial` train to the end and return the run. `pretrain_job` and `adversarial_job` stop
short of training: a `Job` holds everything ready, so that the command line can show it and draw its progress.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgen import algorithms
from seqgen.algorithms import Entry, finetune
from seqgen.core import device as devices
from seqgen.core import plugins, settings
from seqgen.core.atomic_files import write_text
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, Ids, encode_lines, in_order
from seqgen.data.corpus import Corpus
from seqgen.data.folds import outside
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import cross_fitting, load, run_folder
from seqgen.training.data_config import (
    DataConfig,
    check_no_tokenizer,
    describe,
    length_limit,
    open_data,
    short_name,
    stored,
    tokenizer_for,
)
from seqgen.training.job import ROOT, Job, Request, assemble, request
from seqgen.training.load import Trained
from seqgen.training.loop import Medium, Stream
from seqgen.training.run_folder import Run
from seqgen.training.start import initial_run, run_of_same_algorithm

__all__ = ["ROOT", "DataConfig", "Job", "adversarial", "adversarial_job", "pretrain", "pretrain_job"]

VALID_BATCH = 256
"""Validation sentences measured at a time."""
FEWEST_STEPS_BETWEEN_REPORTS = 50


def pretrain(corpus: str = "scenes", algorithm: str = "mle", **options: Any) -> Run:
    """Train a likelihood model on a corpus and return its run; the options are those of `pretrain_job`."""
    data = DataConfig(corpus=corpus, **_data_options(options))
    job = pretrain_job(data, algorithm, **options)
    job.train()
    return job.run


def adversarial(init: Run | Path | str | None = None, algorithm: str = "residual", **options: Any) -> Run:
    """Train a generator against a discriminator and return its run; options as of `adversarial_job`.

    For an algorithm that starts from a corpus, `corpus` and the other options of `DataConfig` name that.
    """
    given = _data_options(options)
    job = adversarial_job(init, algorithm, data=DataConfig(**given) if given else None, **options)
    job.train()
    return job.run


def _data_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take what belongs to `DataConfig` out of options."""
    names = [field.name for field in fields(DataConfig) if field.name in options]
    return {name: options.pop(name) for name in names}


def pretrain_job(
    data: DataConfig,
    algorithm: str = "mle",
    *,
    path: Path | str | None = None,
    init: Run | Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device_name: str = "auto",
    trust: bool = False,
) -> Job:
    """Open the corpus, train or reload the tokenizer, and build the algorithm with its settings.

    Args:
        algorithm: a name of `seqgen.algorithms.PRETRAIN`, an entry point, or `module:Class`.
        path: the run folder; `runs/ALGORITHM-CORPUS` where not given. An unfinished run there is resumed.
        init: a run of the same algorithm on another corpus, to start from: its vocabulary, with the corpus's
            further words after it, and its weights; see `seqgen.algorithms.finetune`.
        values: settings by (dotted) name, over the algorithm's defaults.
        steps: length of training in steps; otherwise `epochs`, otherwise the setting of that name.
        trust: whether a run to start from may name code outside this package.

    Raises:
        UserError: the corpus, a setting or the run folder is not what it must be.
    """
    entry = algorithms.get(algorithm, algorithms.PRETRAIN)
    if entry.cls.needs_start:
        raise UserError(f"{algorithm} starts from a run; give 'seqgen adversarial {algorithm} --init RUN'")
    start = None if init is None else run_of_same_algorithm(init, algorithm, trust=trust)
    config = entry.config()
    if start:
        config = settings.override(config, finetune.shapes(start.run.config))
        check_no_tokenizer(data)
    config = settings.override(config, dict(values or {}) | ({} if epochs is None else {"epochs": epochs}))
    if start:
        finetune.check(config, start.run.config)
    elif config.uses_start:
        raise UserError("contrastive.align or replay needs a run to start from; name one with --init")
    return _job_from_corpus(
        "pretrain",
        algorithm,
        entry,
        config,
        data,
        start,
        path=path,
        steps=steps,
        seed=seed,
        device_name=device_name,
    )


def adversarial_job(
    init: Run | Path | str | None = None,
    algorithm: str = "residual",
    *,
    data: DataConfig | None = None,
    path: Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device_name: str = "auto",
    trust: bool = False,
) -> Job:
    """Start adversarial training from a pretrained run: its corpus, tokenizer, generator and seed.

    Without `init` the newest run under `runs/` that fits is taken: a pretrained one starts a new training,
    one of this algorithm goes on. An algorithm that needs no start takes `data` in its place. `steps` is the
    setting of that name; the other arguments are those of `pretrain_job`.
    """
    entry = algorithms.get(algorithm, algorithms.ADVERSARIAL)
    given = dict(values or {}) | ({} if steps is None else {"steps": steps})
    if not entry.cls.needs_start:
        if init is not None:
            raise UserError(f"{algorithm} starts from random weights; leave --init out, and name a --corpus")
        config = settings.override(entry.config(), given)
        return _job_from_corpus(
            "adversarial",
            algorithm,
            entry,
            config,
            data or DataConfig(),
            None,
            path=path,
            steps=None,
            seed=seed or 0,
            device_name=device_name,
        )
    if data is not None:
        raise UserError(
            f"{algorithm} learns from the corpus of the run that it starts from; leave --corpus out"
        )
    found = initial_run(init, path, algorithm, entry.cls, trust=trust)
    load.check(found)
    if found.config["algorithm"] == algorithm and init is None:
        path, found = found.path, run_folder.open_run(Path(found.config["init"]))
    parts = {part: found.config["settings"][part] for part in entry.cls.inherits}
    config = settings.override(settings.override(entry.config(), parts), given)
    finetune.check(config, found.config)
    start = load.load(found, "cpu", trust=trust)
    folder = Path(path) if path else ROOT / f"{algorithm}-{short_name(found.config['data']['corpus'])}"
    config_keys = _config_keys(
        "adversarial",
        algorithm,
        config,
        DataConfig(**found.config["data"]),
        found.config["corpus_hash"],
        seed=found.config["seed"] if seed is None else seed,
        init=found.path,
    )
    device = devices.pick(device_name)
    build = partial(
        _job,
        entry,
        steps=None,
        device=device,
        start=start,
        adopt=lambda fresh: fresh.start_from(start.algorithm),
    )
    if not entry.cls.cross_fits:
        return build(config, request(folder, config_keys, config), start.corpus, start.tokenizer)
    return _cross_fitted(build, config, config_keys, folder, start, device)


def _cross_fitted(
    build: Callable[..., Job],
    config: Any,
    config_keys: dict[str, Any],
    folder: Path,
    start: Trained,
    device: torch.device,
) -> Job:
    """Return a training with those of the folds' generators before it, where they are needed."""
    limit = length_limit(DataConfig(**start.run.config["data"]), start.tokenizer)
    train, valid = (
        encode_lines(lines, start.tokenizer, max_length=limit)
        for lines in (start.corpus.train, start.corpus.valid)
    )
    gap = cross_fitting.memorised(start, train, valid) if len(valid) else 0.0
    decided = config.cross_fitting if config.cross_fitting != "auto" else _decided(folder)
    is_needed = decided == "on" or (decided == "auto" and gap > cross_fitting.LIKELIER)
    if is_needed:
        cross_fitting.check(start)
    config = config.cross_fitted(is_needed)
    asked = request(folder, config_keys | {"settings": settings.to_dict(config)}, config)
    job = build(config, asked, start.corpus, start.tokenizer)
    if is_needed:
        make = partial(_fold_job, folder=folder, device=device)
        job.folds = cross_fitting.fold_jobs(start, config.folds, make)
        algorithm: Any = job.algorithm
        job.use_folds = lambda runs: algorithm.take_folds(
            [load.load(run, str(device), trust=True).algorithm.generator for run in runs]
        )
        job.notes = [*job.notes, cross_fitting.note(start, gap, config.folds)]
    return job


def _decided(folder: Path) -> str:
    """Return what a run in a folder decided about cross-fitting: a resumed one keeps to it."""
    if not (folder / run_folder.CONFIG).exists():
        return "auto"
    return str(run_folder.open_run(folder).config["settings"].get("cross_fitting", "auto"))


def _fold_job(
    start: Trained, fold: int, folds: int, steps: int, *, folder: Path, device: torch.device
) -> Job:
    """Return the training of a run again, without a fold of its corpus."""
    given = start.run.config
    entry = load.entry_of(start.run, trust=True)
    config = settings.from_dict(entry.cls.Config, given["settings"])
    data = DataConfig(**given["data"])
    keys = _config_keys(
        "pretrain", given["algorithm"], config, data, given["corpus_hash"], seed=given["seed"], init=None
    )
    asked = request(folder / "folds" / str(fold), keys | {"fold": fold, "folds": folds}, config)
    return _job(
        entry,
        config,
        asked,
        start.corpus,
        start.tokenizer,
        steps=steps,
        device=device,
        start=None,
        adopt=lambda fresh: None,
        select=lambda ids: outside(ids, fold, folds),
    )


def _config_keys(
    verb: str,
    algorithm: str,
    config: Any,
    data: DataConfig,
    corpus_hash: str,
    *,
    seed: int,
    init: Path | None,
) -> dict[str, Any]:
    """Return what the configuration of the run asked for must say."""
    return {
        "verb": verb,
        "algorithm": algorithm,
        "settings": settings.to_dict(config),
        "data": asdict(data),
        "corpus_hash": corpus_hash,
        "seed": seed,
        "init": str(init.resolve()) if init else None,
    }


def _job_from_corpus(
    verb: str,
    algorithm: str,
    entry: Entry,
    config: Any,
    data: DataConfig,
    start: Trained | None,
    *,
    path: Path | str | None,
    steps: int | None,
    seed: int,
    device_name: str,
) -> Job:
    """Open a corpus and build an algorithm that learns from it, from random weights or fine-tuning a run."""
    device = devices.pick(device_name)
    name = algorithm.rpartition(":")[2]
    folder = Path(path) if path else ROOT / f"{name}-{short_name(data.corpus)}"
    data = stored(data, folder)
    corpus = open_data(data, seed=seed)
    defaults = entry.config().fitted(len(corpus.train))
    config = config.fitted(len(corpus.train))
    init = start.run.path if start else None
    config_keys = _config_keys(verb, algorithm, config, data, corpus.hash, seed=seed, init=init)
    asked = request(folder, config_keys, defaults)
    if asked.existing:
        tokenizer = Tokenizer.load(folder / run_folder.TOKENIZER)
    elif start:
        tokenizer = start.tokenizer.extended(corpus.train)
    else:
        tokenizer = tokenizer_for(data, corpus)

    def adopt(fresh: Any) -> None:
        if start is not None:
            limit = length_limit(data, tokenizer)
            is_larger = tokenizer.vocab_size > start.tokenizer.vocab_size
            unknown = is_larger and not asked.existing and _has_seen_unknown(start, limit)
            finetune.adopt(fresh, start.algorithm.state_dict(), unknown=unknown)

    return _job(entry, config, asked, corpus, tokenizer, steps=steps, device=device, start=start, adopt=adopt)


def _job(
    entry: Entry,
    config: Any,
    asked: Request,
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    steps: int | None,
    device: torch.device,
    start: Trained | None,
    adopt: Callable[[Any], None],
    select: Callable[[Ids], Ids] = lambda ids: ids,
) -> Job:
    """Encode the corpus and assemble the training, by the training sentences that are selected."""
    cls = entry.cls
    limit = length_limit(DataConfig(**asked.config["data"]), tokenizer)
    train = encode_lines(corpus.train, tokenizer, max_length=limit)
    valid = encode_lines(corpus.valid, tokenizer, max_length=limit)

    def stream(ids: Any) -> Batches:
        return Batches(
            ids, config.read_size, seed=asked.config["seed"], bucket_by_length=cls.bucket_by_length
        )

    batches: Stream = stream(select(train))
    if start is not None and config.replays:
        replayed = encode_lines(start.corpus.train, tokenizer, max_length=limit)
        batches = finetune.ReplayBatches(stream(train), stream(replayed))
    notes = describe(corpus, tokenizer, train, valid, limit)

    def begin(fresh: Any) -> None:
        fresh.read_corpus(train)
        adopt(fresh)

    return assemble(
        asked,
        config,
        build=lambda described: load.build(described, entry, tokenizer),
        start=begin,
        facts={
            "vocab_size": tokenizer.vocab_size,
            "length": int(train.lengths().max()),
            "grammar": corpus.grammar,
            "fixed_length": corpus.fixed_length,
            "sizes": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
            "removed": corpus.removed,
            "code_hash": plugins.source_hash(cls),
        },
        steps=steps,
        fewest_steps_between_reports=lambda length: FEWEST_STEPS_BETWEEN_REPORTS,
        batches=batches,
        validation=_Validation(valid, device),
        device=device,
        medium=Medium("tokens", finetune.real_tokens, 10, partial(_write_sentences, tokenizer)),
        notes=_start_notes(start) + notes,
        files={} if asked.existing else {run_folder.TOKENIZER: tokenizer.to_json()},
    )


def _start_notes(start: Trained | None) -> list[str]:
    """Say what the training starts from, and what of it is left behind."""
    if start is None:
        return []
    notes = [f"starts from: {start.run.path}"]
    if start.algorithm.mixed is not None:
        notes.append("its n-grams are left out: the network alone is trained and rolled out")
    return notes


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
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        for tokens, _ in in_order(self.ids, VALID_BATCH):
            yield Batch(tokens.to(self.device))
