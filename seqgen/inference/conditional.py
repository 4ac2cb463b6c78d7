"""What sampled sentences are given: labels in proportion, or sources to go on from."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.data.conditions import joined
from seqgen.data.tokenizer import UNK
from seqgen.inference.sentence import SamplingPosition, Sentence
from seqgen.training.data_config import length_limit
from seqgen.training.load import SCORE_SAMPLES, Trained, log_likelihood

BLOCK = 4096
"""Sources that are sorted by their length at a time."""
ROWS = 256
"""Sentences drawn at a time."""

Given = Callable[[int, torch.Generator], Tensor]
"""What so many sentences are given, drawn by a generator: token ids (n, P)."""


def has_labels(trained: Trained) -> bool:
    """Whether the sentences of a run are given labels."""
    return trained.algorithm.condition is not None and bool(trained.algorithm.condition.labels)


def require_labels(trained: Trained, option: str) -> None:
    """Raise UserError for a run of text without labels, as an option asks for them."""
    if not has_labels(trained):
        raise UserError(
            f"'{trained.run.path}' was trained without labels; train one with --label-column, or leave "
            f"{option} out"
        )


def drawn_labels(trained: Trained, labels: Mapping[str, float]) -> Given:
    """Return what draws labels by their weights; UserError for labels that the run has not, or no weight."""
    require_labels(trained, "--label")
    ids = torch.tensor(trained.tokenizer.encode_conditions(list(labels)), device=trained.device)
    weights = torch.tensor(list(labels.values()), device=trained.device, dtype=torch.float32)
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
        raise UserError(
            f"the weights of labels are {list(labels.values())}; they must be from 0 on, and one above 0"
        )
    return lambda n, rng: ids[torch.multinomial(weights, n, replacement=True, generator=rng)]


def labelled(trained: Trained, sentences: Sequence[str], label: str) -> list[str]:
    """Return sentences with a label before them; UserError where the run has not that label."""
    drawn_labels(trained, {label: 1.0})
    return [joined(label, each) for each in sentences]


def go_on_from(
    trained: Trained,
    sources: Sequence[str],
    n: int = 1,
    *,
    max_length: int | None = None,
    min_length: int = 0,
    seed: int = 0,
    with_log_prob: bool = False,
    unknown: bool = False,
    position: SamplingPosition | None = None,
    **options: Any,
) -> Iterator[Sentence]:
    """Yield n sentences for each source, in the order of the sources.

    Args:
        position: as of `seqgen.inference.generate.generate`, between two blocks of sources.
        max_length: tokens of a sentence at most, EOS included; as many as in training if not given.
        options: temperature, top_k, top_p, min_p, search, candidates.

    Sources of like length are read together. UserError if the run's sentences go on from nothing.
    """
    if trained.algorithm.condition is None or trained.algorithm.condition.then is None:
        raise UserError(
            f"the sentences of '{trained.run.path}' go on from no source; train a run with --source-column, "
            "or leave --source out"
        )
    limit = length_limit(trained.data, trained.tokenizer)
    rng = torch.Generator(trained.device).manual_seed(seed)
    how = {"min_length": min_length, "forbid": () if unknown else (UNK,), "rng": rng} | options
    position = SamplingPosition() if position is None else position
    position.restore(rng)
    for start in range(position.sentences // max(n, 1), len(sources), BLOCK):
        block = sources[start : start + BLOCK]
        given = trained.tokenizer.encode_conditions(block, limit)
        numbers = [i for i in range(len(block)) for _ in range(n)]
        found: list[Sentence | None] = [None] * len(numbers)
        order = sorted(range(len(numbers)), key=lambda at: len(given[numbers[at]]))
        for _, rows in itertools.groupby(order, key=lambda at: len(given[numbers[at]])):
            for part in _parts(rows):
                condition = torch.tensor([given[numbers[at]] for at in part], device=trained.device)
                length = condition.shape[1] + (max_length or limit)
                tokens = trained.algorithm.sample(len(part), length, condition=condition, **how).tokens
                texts = [block[numbers[at]] for at in part]
                drawn = _sentences(trained, tokens, texts, with_log_prob=with_log_prob)
                for at, sentence in zip(part, drawn, strict=True):
                    found[at] = sentence
        yield from (each for each in found if each is not None)
        position.advance(len(found), rng)


def _parts(rows: Iterator[int]) -> Iterator[tuple[int, ...]]:
    while part := tuple(itertools.islice(rows, ROWS)):
        yield part


def _sentences(
    trained: Trained, tokens: Tensor, sources: Sequence[str], *, with_log_prob: bool
) -> Iterator[Sentence]:
    scores: list[float | None] = [None] * len(tokens)
    if with_log_prob and trained.algorithm.likelihood:
        rng = torch.Generator(trained.device).manual_seed(0)
        scores = log_likelihood(trained, tokens, samples=SCORE_SAMPLES, rng=rng).tolist()
    counts = trained.algorithm.of_sentence(tokens).sum(dim=1).tolist()
    for row, count, score, source in zip(tokens.tolist(), counts, scores, sources, strict=True):
        yield Sentence(trained.tokenizer.decode(row), count, score, source=source)
