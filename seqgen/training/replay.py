"""The training of a run once more, from its configuration alone."""

from pathlib import Path
from typing import Any

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.training import data_config, load, run_folder, setup
from seqgen.training.job import HASHES, ROOT, Job
from seqgen.training.run_folder import Run
from seqgen.training.start import start_of, teacher_of


def replay_job(
    source: Run,
    path: Path | str | None = None,
    *,
    corpus: str | None = None,
    init: Path | str | None = None,
    teacher: Path | str | None = None,
    device_name: str = "auto",
    compile: bool = False,
    trust: bool = False,
) -> Job:
    """Ask for a run on text again: its corpus, settings, seed and length, in a folder of its own.

    On a CPU, with as many threads and the same versions, the new run is the old one bit for bit.

    Args:
        source: the run, of which nothing but its configuration is needed.
        path: the folder of the new run; that of the old one with `-again` where not given.
        corpus, init, teacher: where the text, the run to start from, and the teacher are now, if they have
            moved.
        compile: as of `seqgen.training.setup.pretrain_job`; rounding is then another.
        trust: whether it may name code outside this package, which is then run.

    Raises:
        UserError: the text or the run to start from is not there, or not what it was; or the configuration
            names code that is not to be trusted.
    """
    load.check(source)
    entry = load.entry_of(source, trust=trust)
    if (source.path / run_folder.TOKENIZER).exists():  # without, the configuration is all there is
        load.check_sizes(source, entry, load.tokenizer_of(source))
    config = source.config
    data = data_config.from_store(config["data"], source.path, corpus=corpus)
    begins: Any = start_of(source) if config.get("init") and init is None else init
    options: dict[str, Any] = {
        "teacher": teacher_of(source) if config.get("teacher") and teacher is None else teacher,
        "path": folder_of(source, path),
        "values": config["settings"],
        "seed": config["seed"],
        "device_name": device_name,
        "compile": compile,
        "trust": trust,
    }
    refuse_code(source, entry.config, trust=trust)
    if config["verb"] == "pretrain":
        job = setup.pretrain_job(data, config["algorithm"], init=begins, steps=config["steps"], **options)
    else:
        moved = data_config.DataConfig(corpus=corpus) if corpus and begins else None
        job = setup.adversarial_job(begins, config["algorithm"], data=moved if begins else data, **options)
    check_is_same(source, job)
    return job


def folder_of(source: Run, path: Path | str | None) -> Path:
    """Return the folder of the new run; UserError where it is that of the old one."""
    folder = ROOT / f"{source.path.resolve().name}-again" if path is None else Path(path)
    if folder.exists() and folder.resolve() == source.path.resolve():
        raise UserError(f"'{folder}' is the run to replay; give another folder with --run")
    return folder


def refuse_code(source: Run, config: Any, *, trust: bool) -> None:
    """Raise UserError where settings name functions of a file of the user's, which training would run."""
    named = settings.override(config(), source.config["settings"]).functions
    if named and not trust:
        raise UserError(
            f"'{source.path / run_folder.CONFIG}' names {', '.join(named)}, code outside seqgen that "
            "training runs; look at it, and give --trust"
        )


def check_is_same(source: Run, job: Job) -> None:
    """Raise UserError where what is asked for is not what the configuration says."""
    now, before = (settings.flatten(run.config) for run in (job.run, source))
    for key in (*HASHES, "seed", "steps", "vocab_size", *(k for k in now if k.startswith("settings."))):
        if key in now and key in before and now[key] != before[key]:
            difference = HASHES.get(key, f"with {key}={now[key]}, not {before[key]}")
            raise UserError(
                f"'{source.path}' cannot be replayed: this would be a run {difference}; give what it was "
                "trained on"
            )
