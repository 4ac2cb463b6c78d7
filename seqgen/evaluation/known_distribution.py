"""Scores of sentences under the grammar or the oracle of their corpus, whose distribution is known."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from seqgen.generation.oracles import FIRST, Oracle
from seqgen.metrics.divergences import Densities, forward_kl, jensen_shannon


class GrammarOracle(Protocol):
    """The exact distribution of a built-in corpus."""

    name: str

    def log_prob(self, sentence: str) -> float: ...

    def log_probs(self, sentences: Iterable[str]) -> list[float]: ...

    def entropy(self) -> float: ...

    def valid(self, sentence: str) -> bool: ...


class LikelihoodMetrics(Protocol):
    """A model's likelihood of some text (`seqgen.generation.likelihood.Likelihood`)."""

    @property
    def nats_per_token(self) -> float: ...

    @property
    def nats_per_sentence(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float] | None: ...

    def as_dict(self) -> dict[str, float | None]: ...


def grammar_scores(
    lines: Sequence[str], test: Sequence[str], grammar: GrammarOracle, nll_test: LikelihoodMetrics | None
) -> dict[str, Any]:
    """Score samples, and the model's likelihood of the test split, by the grammar of the corpus.

    - `valid`: fraction of samples that the grammar derives
    - `nll`: negative log-likelihood of the valid samples under the grammar, nats per sentence
    - `entropy`: entropy of the grammar, nats per sentence
    - `test_nll`: negative log-likelihood of the test split under the grammar, nats per sentence, which is an
      estimate of the entropy
    - `ratio`: negative log-likelihood of the test split under the model, over the entropy
    """
    valid = [line for line in lines if grammar.valid(line)]
    log_probs = [log_prob for log_prob in map(grammar.log_prob, valid) if np.isfinite(log_prob)]
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


def grammar_divergences(
    lines: Sequence[str],
    test: Sequence[str],
    grammar: GrammarOracle,
    log_density: Callable[[Sequence[str]], torch.Tensor],
) -> dict[str, Any]:
    """Measure how far a model is from the grammar, by its samples and the test split, in nats a sentence.

    log_density: log of the density of what was drawn, of sentences, (N,) float64.

    - `forward_kl`: KL(grammar ‖ model)
    - `jensen_shannon`: 0 to log 2 = .693
    - `standard_errors`: of both
    """
    p_of_p, p_of_q = (torch.tensor(grammar.log_probs(each), dtype=torch.float64) for each in (test, lines))
    densities = Densities(p_of_p, log_density(test), p_of_q, log_density(lines))
    estimates = {"forward_kl": forward_kl(densities), "jensen_shannon": jensen_shannon(densities)}
    finite = {name: each for name, each in estimates.items() if np.isfinite(each.mean)}
    return {name: each.mean for name, each in finite.items()} | {
        "standard_errors": {name: each.error for name, each in finite.items()}
    }


def valid_fraction(lines: Sequence[str], grammar: GrammarOracle) -> float:
    """Fraction of sentences that the grammar derives."""
    return sum(map(grammar.valid, lines)) / len(lines)


def oracle_scores(lines: Sequence[str], test: Sequence[str], oracle: Oracle) -> dict[str, Any]:
    """Score samples by the oracle of their corpus (Yu et al. 2017), in nats a token.

    - `nll_oracle`: negative log-likelihood of the samples under the oracle, which a low temperature lowers
    - `entropy`: that of the test split, an estimate of the oracle's entropy and the floor of `nll_test`
    - `standard_errors`: of both
    """
    values, errors = {}, {}
    for name, sentences in (("nll_oracle", lines), ("entropy", test)):
        tokens = torch.tensor([[int(word) + FIRST for word in line.split()] for line in sentences])
        nats = -oracle.log_likelihood(tokens) / tokens.shape[1]
        values[name] = float(nats.mean())
        errors[name] = float(nats.std()) / len(nats) ** 0.5
    return {"name": oracle.name, **values, "standard_errors": errors}
