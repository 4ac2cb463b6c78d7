"""From a corpus and settings to a run: what `seqgen pretrain` and `seqgen adversarial` do, as functions.

`pretrain` and `adversarial` train to the end and return the run. `pretrain_job` and `adversarial_job` stop
short of training: a `Job` holds everything ready, so that the command line can show it and draw its progress.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from seqgen import algorithms
from seqgen.algorithms import Entry, finetune
from seqgen.core import device as devices
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batches import encode_lines
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import cross_fitting, load, run_folder
from seqgen.training.data_config import (
    DataConfig,
    check_no_tokenizer,
    length_limit,
    open_with_tokenizer,
    short_name,
    stored,
)
from seqgen.training.job import ROOT, Job, request
from seqgen.training.load import Trained
from seqgen.training.run_folder import Run
from seqgen.training.start import initial_run, run_of_same_algorithm
from seqgen.training.text_job import config_keys, text_job

__all__ = ["ROOT", "DataConfig", "Job", "adversarial", "adversarial_job", "pretrain", "pretrain_job"]


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
    keys = config_keys(
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
        text_job,
        entry,
        steps=None,
        device=device,
        start=start,
        adopt=lambda fresh: fresh.start_from(start.algorithm),
    )
    if not entry.cls.cross_fits:
        return build(config, request(folder, keys, config), start.corpus, start.tokenizer)
    return cross_fitting.cross_fitted(build, config, keys, folder, start, device)


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
    known = _tokenizer_of(folder) or (start.tokenizer if start else None)
    corpus, tokenizer = open_with_tokenizer(data, known, seed=seed)
    defaults = entry.config().fitted(len(corpus.train))
    config = config.fitted(len(corpus.train))
    init = start.run.path if start else None
    keys = config_keys(verb, algorithm, config, data, corpus.hash, seed=seed, init=init)
    asked = request(folder, keys, defaults)
    if start and not asked.existing:
        tokenizer = tokenizer.extended(corpus.train)

    def adopt(fresh: Any) -> None:
        if start is not None:
            limit = length_limit(data, tokenizer)
            is_larger = tokenizer.vocab_size > start.tokenizer.vocab_size
            unknown = is_larger and not asked.existing and _has_seen_unknown(start, limit)
            finetune.adopt(fresh, start.algorithm.state_dict(), unknown=unknown)

    return text_job(
        entry, config, asked, corpus, tokenizer, steps=steps, device=device, start=start, adopt=adopt
    )


def _tokenizer_of(folder: Path) -> Tokenizer | None:
    """Read the tokenizer of the run in a folder; None if no run has begun there."""
    place = folder / run_folder.TOKENIZER
    begun = any((folder / name).exists() for name in (run_folder.STATE, run_folder.WEIGHTS))
    return Tokenizer.load(place) if begun and place.exists() else None


def _has_seen_unknown(start: Trained, limit: int) -> bool:
    """Say whether a run's corpus had unknown words, as most have; a run whose corpus is gone still serves."""
    try:
        corpus = start.corpus
    except UserError:
        return True
    return bool(encode_lines(corpus.train, start.tokenizer, max_length=limit).unknown)
