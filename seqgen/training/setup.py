"""From a corpus and settings to a run: what `seqgen pretrain` and `seqgen adversarial` do, as functions.

`pretrain` and `adversarial` train to the end and return the run. `pretrain_job` and `adversarial_job` stop
short of training: a `Job` holds everything ready, so that the command line can show it and draw its progress.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from seqgen import algorithms
from seqgen.algorithms import Entry, finetune
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import device as devices
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batches import encode_lines
from seqgen.data.tokenizer import Tokenizer
from seqgen.generation import oracles
from seqgen.training import cross_fitting, load, oracle_corpus, run_folder, time_budget
from seqgen.training.data_config import (
    DataConfig,
    absolute,
    check_no_tokenizer,
    check_same_tokenizer,
    length_limit,
    open_with_tokenizer,
    short_name,
    with_conditions,
)
from seqgen.training.job import ROOT, Job, request
from seqgen.training.load import Trained
from seqgen.training.run_folder import Run
from seqgen.training.start import (
    check_same_vocabulary,
    initial_run,
    load_teacher,
    run_of_same_algorithm,
    start_of,
)
from seqgen.training.text_job import config_keys, text_job

__all__ = ["ROOT", "DataConfig", "Job", "adversarial", "adversarial_job", "pretrain", "pretrain_job"]


def pretrain(
    corpus: str | Path | Iterable[str] = "scenes",
    algorithm: str = "mle",
    *,
    run: Path | str | None = None,
    device: str = "auto",
    **options: Any,
) -> Run:
    """Train a likelihood model on a corpus and return its run.

    Args:
        corpus: a name as the command takes it, or the sentences themselves, which are kept with the run.
        run: the run folder; `runs/ALGORITHM-CORPUS` where not given. An unfinished run there is resumed.
        device: auto, cpu, cuda, cuda:N or mps.
        options: those of `DataConfig` and of `pretrain_job`.
    """
    data, texts = _data({"corpus": corpus} | _data_options(options))
    assert data is not None
    job = pretrain_job(data, algorithm, path=run, device_name=device, texts=texts, **options)
    job.train()
    return job.run


def adversarial(
    init: Run | Path | str | None = None,
    algorithm: str = "residual",
    *,
    run: Path | str | None = None,
    device: str = "auto",
    **options: Any,
) -> Run:
    """Train a generator against a discriminator and return its run.

    `run` and `device` are those of `pretrain`, the other options those of `adversarial_job`. For an algorithm
    that starts from a corpus, `corpus` and the other options of `DataConfig` name that.
    """
    data, texts = _data(_data_options(options))
    job = adversarial_job(init, algorithm, data=data, path=run, device_name=device, texts=texts, **options)
    job.train()
    return job.run


def _data(options: dict[str, Any]) -> tuple[DataConfig | None, list[str] | None]:
    """Return what options ask for, and the sentences of a corpus that is given as a list of them."""
    if not options:
        return None, None
    options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    corpus = options.get("corpus", DataConfig.corpus)
    if isinstance(corpus, str):
        return DataConfig(**options), None
    texts = list(corpus)
    for each in texts:
        if not isinstance(each, str):
            raise TypeError(f"the corpus holds {type(each).__name__} {each!r:.40}; give a list of strings")
    return DataConfig(**options | {"corpus": "-"}), texts


def _data_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take what belongs to `DataConfig` out of options."""
    names = [field.name for field in fields(DataConfig) if field.name in options]
    return {name: options.pop(name) for name in names}


def pretrain_job(
    data: DataConfig,
    algorithm: str = "mle",
    *,
    texts: Sequence[str] | None = None,
    path: Path | str | None = None,
    init: Run | Path | str | None = None,
    teacher: Run | Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device_name: str = "auto",
    compile: bool = False,
    trust: bool = False,
) -> Job:
    """Open the corpus, train or reload the tokenizer, and build the algorithm with its settings.

    Args:
        algorithm: a name of `seqgen.algorithms.PRETRAIN`, an entry point, or `module:Class`.
        texts: the sentences of the corpus themselves; `data` then names it as a pipe, `-`.
        path: the run folder; `runs/ALGORITHM-CORPUS` where not given. An unfinished run there is resumed.
        init: a run of the same algorithm on another corpus, to start from: its vocabulary, with the corpus's
            further words after it, and its weights; see `seqgen.algorithms.finetune`.
        teacher: a run whose embeddings of sentences it learns as well; see `seqgen.algorithms.teacher`.
        values: settings by (dotted) name, over the algorithm's defaults.
        steps: length of training in steps; otherwise `epochs`, otherwise the setting of that name.
        minutes: length of training in minutes, in their place: its first steps are timed, and the number of
            steps is fixed in the configuration of the run, which keeps it when it is resumed.
        compile: let torch compile the networks, where it can here (`seqgen.core.compiled`).
        trust: whether a run to start from may name code outside this package.

    Raises:
        UserError: the corpus, a setting or the run folder is not what it must be.
    """
    _check_length(minutes, values, {"--steps ": steps, "--epochs ": epochs})
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
        load_teacher(teacher, algorithm, entry.cls, config, trust=trust),
        texts=texts,
        path=path,
        steps=steps,
        minutes=minutes,
        seed=seed,
        device_name=device_name,
        compile=compile,
    )


def adversarial_job(
    init: Run | Path | str | None = None,
    algorithm: str = "residual",
    *,
    data: DataConfig | None = None,
    texts: Sequence[str] | None = None,
    path: Path | str | None = None,
    teacher: Run | Path | str | None = None,
    values: Mapping[str, Any] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device_name: str = "auto",
    compile: bool = False,
    trust: bool = False,
) -> Job:
    """Start adversarial training from a pretrained run: its corpus, tokenizer, generator and seed.

    Without `init` the newest run under `runs/` that fits is taken: a pretrained one starts a new training,
    one of this algorithm goes on, unless `path` names another folder. An algorithm that needs no start takes
    `data` in its place; for the others it may say where the corpus of the start is now. `steps` is the
    setting of that name, and `minutes` are without the generators that cross-fitting trains before; the other
    arguments are those of `pretrain_job`.
    """
    _check_length(minutes, values, {"--steps ": steps})
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
            load_teacher(teacher, algorithm, entry.cls, config, trust=trust),
            texts=texts,
            path=path,
            steps=None,
            minutes=minutes,
            seed=seed or 0,
            device_name=device_name,
            compile=compile,
        )
    if texts is not None or (data is not None and data != DataConfig(corpus=data.corpus)):
        raise UserError(
            f"{algorithm} learns from the corpus of the run that it starts from; of the options about text, "
            "give --corpus alone, where that has moved"
        )
    found = initial_run(init, path, algorithm, entry.cls, trust=trust)
    load.check(found)
    if found.config["algorithm"] == algorithm and init is None:
        path, found = found.path, start_of(found)
    # Whatever led to it: its settings are read next, and may name code.
    found = initial_run(found, None, algorithm, entry.cls, trust=trust)
    start = load.load(found, "cpu", trust=trust, corpus=data.corpus if data else None)
    inherited = entry.cls.inherited(start.algorithm)
    config = settings.override(settings.override(entry.config(), inherited), given)
    finetune.check(config, found.config)
    taught_by = load_teacher(teacher, algorithm, entry.cls, config, trust=trust)
    if taught_by is not None:
        check_same_vocabulary(taught_by, start.tokenizer)
    folder = Path(path) if path else ROOT / f"{algorithm}-{short_name(found.config['data']['corpus'])}"
    keys = config_keys(
        "adversarial",
        algorithm,
        config,
        start.data,
        found.config["corpus_hash"],
        folder=folder,
        seed=found.config["seed"] if seed is None else seed,
        init=found.path,
        teacher=taught_by.run.path if taught_by else None,
    )
    device = devices.pick(device_name)
    build = partial(
        text_job,
        entry,
        steps=None,
        minutes=minutes,
        device=device,
        start=start,
        adopt=lambda fresh: fresh.start_from(start.algorithm),
        teacher=taught_by,
        compile=compile,
    )
    if not entry.cls.cross_fits:
        return build(config, request(folder, keys, config), start.corpus, start.tokenizer)
    return cross_fitting.cross_fitted(
        build, config, keys, folder, start, device, trust=trust, compile=compile
    )


def _job_from_corpus(
    verb: str,
    algorithm: str,
    entry: Entry,
    config: Any,
    data: DataConfig,
    start: Trained | None,
    teacher: Trained | None,
    *,
    texts: Sequence[str] | None,
    path: Path | str | None,
    steps: int | None,
    minutes: float | None,
    seed: int,
    device_name: str,
    compile: bool,
) -> Job:
    """Open a corpus and build an algorithm that learns from it, from random weights or fine-tuning a run."""
    device = devices.pick(device_name)
    name = algorithm.rpartition(":")[2]
    folder = Path(path) if path else ROOT / f"{name}-{short_name(data.corpus) if texts is None else 'texts'}"
    data = absolute(data, folder, texts)
    own = _tokenizer_of(folder)
    corpus, tokenizer = open_with_tokenizer(data, own or (start.tokenizer if start else None), seed=seed)
    tokenizer = with_conditions(tokenizer, data, corpus)
    if start and not own:
        tokenizer = tokenizer.extended(corpus.train)
    encoded = encode_lines(corpus.train, tokenizer, max_length=length_limit(data, tokenizer))
    size = TextSize(len(encoded), len(encoded.tokens), tokenizer.vocab_size)
    fit = partial(_fitted, config, data, size)
    config = _as_begun(config, fit(steps), folder) if own else fit(steps)
    init = start.run.path if start else None
    keys = config_keys(
        verb,
        algorithm,
        config,
        data,
        corpus.hash,
        folder=folder,
        seed=seed,
        init=init,
        teacher=teacher.run.path if teacher else None,
    )
    asked = request(folder, keys, entry.config())
    if asked.existing:
        check_same_tokenizer(data, tokenizer, corpus, folder)
    if teacher is not None:
        check_same_vocabulary(teacher, tokenizer)

    def adopt(fresh: Any) -> None:
        if start is not None:
            limit = length_limit(data, tokenizer)
            is_larger = tokenizer.vocab_size > start.tokenizer.vocab_size
            unknown = is_larger and not asked.existing and _has_seen_unknown(start, limit)
            finetune.adopt(fresh, start.algorithm.state_dict(), unknown=unknown)

    return text_job(
        entry,
        config,
        asked,
        corpus,
        tokenizer,
        steps=steps,
        minutes=minutes,
        fit=fit,
        device=device,
        start=start,
        adopt=adopt,
        teacher=teacher,
        compile=compile,
    )


def _check_length(
    minutes: float | None, values: Mapping[str, Any] | None, lengths: Mapping[str, int | None]
) -> None:
    """Raise UserError where what says the length of training is out of range, or is said twice."""
    by_settings = {f"--set {name}=": (values or {}).get(name) for name in ("steps", "epochs")}
    time_budget.check(minutes, {**lengths, **by_settings})


def _fitted(config: Any, data: DataConfig, text: TextSize, steps: int | None) -> Any:
    """Return settings with what was left to the size of the text and the length of training filled in."""
    fitted = config.fitted(text, steps)
    return oracle_corpus.regularised(config, fitted) if oracles.is_oracle(data.corpus) else fitted


def _as_begun(config: Any, fitted: Any, folder: Path) -> Any:
    """Return fitted settings, but what the size of the text filled in as the run that has begun has it.

    So a run goes on after the rule has changed; its length follows the rule, as that may change.
    """
    if not (folder / run_folder.CONFIG).exists():
        return fitted
    given, new = (settings.flatten(settings.to_dict(each)) for each in (config, fitted))
    filled_in = {name for name in new if given[name] is None and new[name] is not None} - {"epochs"}
    kept = run_folder.open_run(folder).config.get("settings")
    recorded = settings.flatten(kept) if isinstance(kept, Mapping) else {}  # `request` says what it lacks
    return settings.override(fitted, {name: recorded[name] for name in filled_in & recorded.keys()})


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
