"""The run that a training starts from: found, and accepted by what it can do."""

import shlex
from pathlib import Path
from typing import Any

from seqgen import algorithms
from seqgen.algorithms.base import TrainingConfig
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import Tokenizer
from seqgen.training import load, paths, run_folder
from seqgen.training.job import ROOT
from seqgen.training.load import Trained
from seqgen.training.run_folder import Run


def run_of_same_algorithm(init: Run | Path | str, algorithm: str, *, trust: bool) -> Trained:
    """Read the run to fine-tune; UserError where it is of another algorithm."""
    start = load.load(init, "cpu", trust=trust, given=algorithm)
    name = start.run.config["algorithm"]
    if name != algorithm:
        other = f"; give 'seqgen pretrain {name}'" if name in algorithms.PRETRAIN else ""
        raise UserError(f"'{start.run.path}' is a run of {name}, not of {algorithm}{other}")
    return start


def initial_run(
    init: Run | Path | str | None, path: Path | str | None, algorithm: str, cls: Any, *, trust: bool
) -> Run:
    """Find the run to start from, or without `init` perhaps the training to go on with."""
    if init is not None:
        found = init if isinstance(init, Run) else run_folder.open_run(Path(init))
        if problem := _misfit(found, cls, trust=trust):
            raise UserError(f"{algorithm} cannot start from '{found.path}': {problem}")
        return found
    if path is not None and (Path(path) / run_folder.CONFIG).exists():
        return run_folder.open_run(Path(path))

    def fits(run: Run) -> bool:
        if run.config["algorithm"] == algorithm:
            return path is None
        return _misfit(run, cls, trust=trust) is None

    if newest := run_folder.newest(ROOT, fits):
        return newest
    default = "sentence-vae" if cls.latent else "mle"
    labelled = " --label-column COLUMN" if cls.needs_labels else ""
    raise UserError(
        f"no run under 'runs/' that {algorithm} can start from; run 'seqgen pretrain {default}{labelled}' "
        "first, or name one with --init"
    )


def start_of(run: Run) -> Run:
    """Open the run that another has started from; UserError where it is gone."""
    return _recorded(run, "init", "the run that '{run}' started from")


def teacher_of(run: Run) -> Run:
    """Open the teacher of a run; UserError where it is gone."""
    return _recorded(run, "teacher", "the teacher of '{run}'")


def _recorded(run: Run, key: str, what: str) -> Run:
    place = _place_of(run, key)
    if not place.is_dir():
        raise UserError(
            f"'{place}', {what.format(run=run.path)}, is not there any more; if it has moved or has another "
            f"name, give it with --{key}"
        )
    return run_folder.open_run(place)


def _place_of(run: Run, key: str) -> Path:
    return Path(paths.from_store(str(run.config.get(key)), run.path))


def load_teacher(
    teacher: Run | Path | str | None, algorithm: str, cls: Any, config: Any, *, trust: bool
) -> Trained | None:
    """Read the teacher, if one is named; UserError where it cannot teach, or its settings have none.

    Args:
        cls, config: the class and the settings of the algorithm that learns from it.
    """
    if teacher is None:
        for name in ("teacher_weight", "teacher_temperature"):
            if getattr(config, name) != getattr(TrainingConfig, name):
                raise UserError(f"{name} needs a teacher; name a run with --teacher, or leave it out")
        return None
    if "generator." in cls.idle_parameters:
        raise UserError(
            f"{algorithm} leaves the generator as it is, so that it learns nothing from a teacher; give "
            "--teacher to what trains the run that it starts from"
        )
    return load.load(teacher, "cpu", trust=trust)


def check_same_vocabulary(teacher: Trained, tokenizer: Tokenizer) -> None:
    """Raise UserError where token ids do not mean the same to a teacher; either may have further ones."""
    shared = range(min(teacher.tokenizer.vocab_size, tokenizer.vocab_size))
    if teacher.tokenizer.tokens(shared) != tokenizer.tokens(shared):
        raise UserError(
            f"the teacher '{teacher.run.path}' has another vocabulary; train with --tokenizer "
            f"{shlex.quote(str(teacher.run.path))}, or start from a run that was"
        )


def _misfit(found: Run, cls: Any, *, trust: bool) -> str | None:
    """Say why an algorithm that needs a start cannot start from a run, or None where it can.

    It needs a generator without a latent vector, or, where it has latent vectors itself, an encoder and a
    decoder.
    """
    if found.config["verb"] == "image":
        return "it is a run on images, not on text"
    try:
        load.check(found)
    except UserError as error:
        return str(error)
    start = load.entry_of(found, trust=trust).cls
    if missing := [part for part in cls.inherits if part not in found.config["settings"]]:
        trained = "autoencoder" if "encoder" in missing else "mle"
        return (
            f"a run of {found.config['algorithm']} has no {' and no '.join(missing)}; start from one of "
            f"'seqgen pretrain {trained}'"
        )
    if cls.needs_labels and not found.config.get("labels"):
        return "its text has no labels; pretrain one with --label-column"
    if start.takes_candidates and not cls.takes_candidates:
        return (
            f"a run of {found.config['algorithm']} samples by its energy, which would be left out; "
            f"start from '{_place_of(found, 'init')}', on which it was trained"
        )
    if cls.latent and not start.latent:
        return f"a run of {found.config['algorithm']} has no latent vectors; start from one of sentence-vae"
    if start.latent and not cls.latent:
        return f"the generator of {found.config['algorithm']} reads latent vectors; start from a run of mle"
    return None
