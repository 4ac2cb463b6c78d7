"""Cross-fitting: generators that have not seen a fold of the corpus, for what learns from scores of one.

A generator finds the sentences that it was trained on likelier than others of the same kind. What learns to
tell its samples from real sentences, by its scores of both, then learns which sentences it has seen. So the
training corpus is divided into folds, each fold is scored by a generator that was trained on the others, and
samples come from these generators as well (the term is of Chernozhukov et al. 2018, "Double/debiased machine
learning").
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batches import bounded_rows, encode_lines
from seqgen.data.folds import outside
from seqgen.data.token_ids import Ids
from seqgen.training import load, run_folder
from seqgen.training.data_config import length_limit
from seqgen.training.job import Job, request
from seqgen.training.load import Trained
from seqgen.training.start import start_of, teacher_of
from seqgen.training.text_job import config_keys, text_job

LIKELIER = 0.05
"""Nats a token by which training sentences are likelier than held-out ones where cross-fitting is needed."""
SENTENCES = 1000
"""Sentences of either kind that are compared."""


def memorised(start: Trained, train: Ids, valid: Ids) -> float:
    """Return by how much a run finds its training sentences likelier than held-out ones, nats a token."""
    return _nats_per_token(start, valid) - _nats_per_token(start, train)


def _nats_per_token(start: Trained, ids: Ids) -> float:
    rows = np.random.default_rng(0).permutation(len(ids))[:SENTENCES]
    chosen = ids.subset(np.sort(rows))
    nats, tokens = 0.0, 0
    for part in bounded_rows(chosen.lengths(), rows=256):
        batch = chosen.batch(part).to(start.device)
        nats -= float(start.algorithm.log_likelihood(batch).sum())
        tokens += int(start.algorithm.of_sentence(batch).sum())
    return nats / max(tokens, 1)


def check(start: Trained) -> None:
    """Raise UserError where the run to start from cannot be trained again on a part of its corpus."""
    config = start.run.config
    if config["verb"] != "pretrain" or config.get("init"):
        raise UserError(
            f"cross-fitting trains the run to start from again without parts of its corpus, and "
            f"'{start.run.path}' was not trained from nothing by 'seqgen pretrain'; start from a run that "
            "was, or give --set cross_fitting=off"
        )


def note(start: Trained, gap: float | None, folds: int) -> str:
    """Say that generators are trained first, why unless it was asked for, and what that costs."""
    rows: list[dict[str, Any]] = start.run.metrics()
    seconds = float(rows[-1].get("seconds", 0.0)) * (folds - 1) if rows else 0.0
    found = ""
    if gap is not None:
        found = f"the generator finds its training sentences {gap:.2f} nats a token likelier than others, so "
    return (
        f"cross-fitting: {found}{folds} generators are trained first, each without a part of the corpus "
        f"(about {seconds:,.0f} s where the start was trained; --set cross_fitting=off leaves that out)"
    )


def cross_fitted(
    build: Callable[..., Job],
    config: Any,
    keys: dict[str, Any],
    folder: Path,
    start: Trained,
    device: torch.device,
    *,
    trust: bool,
    compile: bool = False,
) -> Job:
    """Return a training, with those of the folds' generators before it where they are needed.

    Args:
        build: from settings, the request for them, corpus and tokenizer to the training.
        config: its settings, which say whether to cross-fit, or leave that open.
        keys: what the configuration of the run asked for must say.
        folder: its run folder.
        start: the run that it starts from.
        trust: whether the run of the generator, where that is another, may name code outside this package.
        compile: as of `seqgen.training.job.assemble`; so do the generators of the folds.
    """
    decided = config.cross_fitting if config.cross_fitting != "auto" else _decided(folder)
    first, place, gap = start, folder, None
    if decided != "off":
        first, place = _first_round(start, folder, config.folds, trust=trust)
    is_needed = decided == "on"
    if decided == "auto":
        gap = _memorised_by(first)
        is_needed = gap > LIKELIER
    config = config.cross_fitted(is_needed)
    asked = request(folder, keys | {"settings": settings.to_dict(config)}, config)
    if not is_needed:
        return build(config, asked, start.corpus, start.tokenizer)
    check(first)
    stand_in = deepcopy(first.algorithm).to(device)

    def adopt(fresh: Any) -> None:
        fresh.start_from(start.algorithm)
        # Until the generators of the folds are there: steps that are timed take as long as later ones.
        fresh.take_folds([stand_in] * config.folds)

    job = build(config, asked, start.corpus, start.tokenizer, adopt=adopt)
    algorithm: Any = job.algorithm
    job.folds = [
        partial(_fold_job, first, fold, config.folds, folder=place, device=device, compile=compile)
        for fold in range(config.folds)
    ]
    job.use_folds = lambda runs: algorithm.take_folds(
        # Of several processes each has a device of its own, which `load` would not take by its number.
        [load.load(run, "cpu", trust=True).algorithm.to(device) for run in runs]
    )
    if place == folder and asked.existing is None:
        job.notes = [*job.notes, note(first, gap, config.folds)]
    return job


def _first_round(start: Trained, folder: Path, folds: int, *, trust: bool) -> tuple[Trained, Path]:
    """Return the run of the generator, and the run folder that has the folds' generators, or is to have them.

    A further round starts from a run of the round before, and takes over the folds of the first.
    """
    place = folder
    while start.algorithm.takes_candidates:
        given = start.run.config["settings"]
        if (given["cross_fitting"], given["folds"]) == ("on", folds):
            place = start.run.path
        start = load.load(start_of(start.run), "cpu", trust=trust, corpus=start.moved_corpus)
    return start, place


def _memorised_by(start: Trained) -> float:
    limit = start.run.config.get("fixed_length") or length_limit(start.data, start.tokenizer)
    splits = (start.corpus.train, start.corpus.valid)
    train, valid = (encode_lines(lines, start.tokenizer, max_length=limit) for lines in splits)
    return memorised(start, train, valid) if len(valid) else 0.0


def _decided(folder: Path) -> str:
    """Return what a run in a folder decided about cross-fitting: a resumed one keeps to it."""
    if not (folder / run_folder.CONFIG).exists():
        return "auto"
    return str(run_folder.open_run(folder).config["settings"].get("cross_fitting", "auto"))


def _fold_job(
    start: Trained, fold: int, folds: int, *, folder: Path, device: torch.device, compile: bool
) -> Job:
    """Return the training of a run again, without a fold of its corpus, for as many passes."""
    given = start.run.config
    entry = load.entry_of(start.run, trust=True)
    config = settings.from_dict(entry.cls.Config, given["settings"])
    place = folder / "folds" / str(fold)
    teacher = load.load(teacher_of(start.run), "cpu", trust=True) if given.get("teacher") else None
    keys = config_keys(
        "pretrain",
        given["algorithm"],
        config,
        start.data,
        given["corpus_hash"],
        folder=place,
        seed=given["seed"],
        init=None,
        teacher=teacher.run.path if teacher else None,
    )
    asked = request(place, keys | {"fold": fold, "folds": folds}, config)

    def others(ids: Ids) -> Ids:
        kept = outside(ids, fold, folds)
        if not len(kept):
            raise UserError(
                f"all sentences of the corpus fall into one of {folds} folds; give --set cross_fitting=off"
            )
        return kept

    return text_job(
        entry,
        config,
        asked,
        start.corpus,
        start.tokenizer,
        steps=max(1, round(given["steps"] * (folds - 1) / folds)),
        device=device,
        start=None,
        adopt=lambda fresh: None,
        teacher=teacher,
        select=others,
        compile=compile,
    )
