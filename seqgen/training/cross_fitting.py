"""Cross-fitting: generators that have not seen a fold of the corpus, for what learns from scores of one.

A generator finds the sentences that it was trained on likelier than others of the same kind. What learns to
tell its samples from real sentences, by its scores of both, then learns which sentences it has seen. So the
training corpus is divided into folds, each fold is scored by a generator that was trained on the others, and
samples come from these generators as well (the term is of Chernozhukov et al. 2018, "Double/debiased machine
learning").
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from seqgen.core.errors import UserError
from seqgen.data.batches import bounded_rows
from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import PAD
from seqgen.training.job import Job
from seqgen.training.load import Trained

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
        tokens += int((batch != PAD).sum())
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


def fold_jobs(start: Trained, folds: int, make: Callable[..., Job]) -> list[Callable[[], Job]]:
    """Return what makes the training of each fold's generator, an ordinary run in `folds/K` of the run."""
    steps = round(start.run.config["steps"] * (folds - 1) / folds)
    return [partial(make, start, fold, folds, max(1, steps)) for fold in range(folds)]


def note(start: Trained, gap: float, folds: int) -> str:
    """Say why generators are trained first, and what that costs."""
    rows: list[dict[str, Any]] = start.run.metrics()
    seconds = float(rows[-1].get("seconds", 0.0)) * (folds - 1) if rows else 0.0
    return (
        f"cross-fitting: the generator finds its training sentences {gap:.2f} nats a token likelier than "
        f"others, so {folds} are trained first, each without a part of the corpus (about {seconds:,.0f} s "
        "where the start was trained; --set cross_fitting=off leaves that out)"
    )
