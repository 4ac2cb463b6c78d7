"""Sentences judged by the grammar that made their corpus, whose probabilities are known exactly."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class GrammarOracle(Protocol):
    """What a built-in corpus knows of its own language."""

    name: str

    def log_prob(self, sentence: str) -> float: ...

    def entropy(self) -> float: ...

    def valid(self, sentence: str) -> bool: ...


class Figures(Protocol):
    """A model's likelihood of some text (`seqgen.generation.likelihood.Likelihood`)."""

    @property
    def nats_per_token(self) -> float: ...

    @property
    def nats_per_sentence(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float] | None: ...

    def as_dict(self) -> dict[str, float | None]: ...


def grammar_scores(
    lines: Sequence[str], test: Sequence[str], grammar: GrammarOracle, nll_test: Figures | None
) -> dict[str, Any]:
    """Judge samples, and the model's likelihood of the test split, by the grammar that made the corpus.

    `valid`: share of samples that the grammar derives; `nll`: nats a sentence of those under the grammar;
    `entropy` of the grammar, nats a sentence; `test_nll`: nats a test sentence under the grammar, the entropy
    as this test split estimates it; `ratio`: nats a test sentence under the model over the entropy.
    """
    valid = [line for line in lines if grammar.valid(line)]
    log_probs = [found for found in map(grammar.log_prob, valid) if np.isfinite(found)]
    test_nll = -float(np.mean([grammar.log_prob(line) for line in test]))
    entropy = grammar.entropy()
    return {
        "name": grammar.name,
        "valid": len(valid) / len(lines),
        "nll": -float(np.mean(log_probs)) if log_probs else None,
        "entropy": entropy,
        "test_nll": test_nll if np.isfinite(test_nll) else None,
        "ratio": nll_test and nll_test.nats_per_sentence / entropy,
    }


def valid_share(lines: Sequence[str], grammar: GrammarOracle) -> float:
    """Share of sentences that the grammar derives."""
    return sum(map(grammar.valid, lines)) / len(lines)
