"""True distributions, and how far from them a sampler is, by exact densities.

Of N sentences that it draws, and of fresh ones of the truth:

| key               | meaning                                                                            |
|-------------------|------------------------------------------------------------------------------------|
| `nll_test`        | -E_p log q of fresh sentences of the true distribution p                           |
| `nll_oracle`      | -E_q log p of what the model draws; below the entropy of p is no better than at it |
| `nll_own`         | -E_q log q of what it draws, an estimate of its entropy                            |
| `forward_kl`      | KL(p ‖ q); infinite (null) where q cannot draw a sentence of p                     |
| `reverse_kl`      | KL(q ‖ p); infinite (null) where it draws what p cannot                            |
| `jeffreys`        | their sum                                                                          |
| `jensen_shannon`  | nats a sentence, 0 to log 2 = .693                                                 |
| `valid`           | on a grammar, the fraction of what it draws that has a derivation                  |
| `missed`          | the fraction of sentences of p that q cannot draw                                  |

The first six are nats a token for an oracle, whose sentences have a fixed length, and nats a sentence for a
grammar. Each has a standard error over sentences; over several seeds, mean and standard error of the seeds.
"""

import math
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from seqgen import corpora
from seqgen.bench.controls import Sampler
from seqgen.data.tokenizer import EOS, PAD, UNK, Tokenizer
from seqgen.generation import oracles
from seqgen.metrics import divergences
from seqgen.metrics.divergences import Densities, Estimate
from seqgen.training import load

Figures = dict[str, dict[str, float | None]]
"""The `mean` and the standard `error` of every figure; null where it is infinite."""


class Truth(Protocol):
    """A true distribution, itself a sampler: draws, exact densities, and the unit of its figures."""

    length: int
    unit: float
    """what nats a sentence are divided by"""
    forbid: tuple[int, ...]
    """tokens that no sentence has"""

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n sentences; (n, T)."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences; (N, T) → (N,), -inf where there is no derivation."""


class OracleTruth:
    """An oracle, in nats a token."""

    def __init__(self, spec: oracles.OracleSpec) -> None:
        self.oracle = oracles.load(spec)
        self.length, self.unit = spec.length, float(spec.length)
        self.forbid: tuple[int, ...] = (EOS, UNK)

    def sample(self, n: int, *, seed: int) -> Tensor:
        return self.oracle.sample(n, seed=seed)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return self.oracle.log_likelihood(tokens)


class GrammarTruth:
    """A built-in grammar through the tokenizer of a run, in nats a sentence."""

    def __init__(self, name: str, tokenizer: Tokenizer, length: int) -> None:
        self.grammar, self.tokenizer = corpora.load(name), tokenizer
        self.length, self.unit = length, 1.0
        self.forbid: tuple[int, ...] = (UNK,)

    def sample(self, n: int, *, seed: int) -> Tensor:
        rows = [[*ids, EOS] for ids in self.tokenizer.encode_batch(self.grammar.sample(n, seed))]
        width = max(self.length, *map(len, rows))
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        lines = load.decode(self.tokenizer, tokens)
        return torch.tensor(self.grammar.log_probs(lines), dtype=torch.float64)


class KnownDistribution:
    """Judges samplers by n draws of each and n fresh sentences of a true distribution."""

    reference = "true distribution"
    """The row that all others are read against."""

    def __init__(self, truth: Truth, *, n: int, seed: int) -> None:
        self.truth, self.n, self.seed = truth, n, seed
        self.length, self.forbid = truth.length, truth.forbid

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor]:
        """Fresh sentences of the true distribution, the same for every row, and their log p."""
        tokens = self.truth.sample(self.n, seed=self.seed + 1_000_003)
        return tokens, self.truth.log_likelihood(tokens)

    def of_reference(self) -> Figures:
        """Measure the true distribution itself: its entropy, and 0 for every divergence."""
        return self.measure(self.truth)

    def measure(self, sampler: Sampler) -> Figures:
        """Measure a sampler; the module says the keys."""
        return figures_of(self.truth, sampler, *self._test, n=self.n, seed=self.seed + 17)


def figures_of(truth: Truth, sampler: Sampler, test: Tensor, p_of_p: Tensor, *, n: int, seed: int) -> Figures:
    """Measure a sampler by n draws and by fresh sentences of the truth (N, T), of which log p is (N,)."""
    drawn = sampler.sample(n, seed=seed)
    d = Densities(
        p_of_p, sampler.log_likelihood(test), truth.log_likelihood(drawn), sampler.log_likelihood(drawn)
    )
    estimates: dict[str, Estimate] = {
        "nll_test": divergences.mean(-d.q_of_p),
        "nll_oracle": divergences.mean(-d.p_of_q),
        "nll_own": divergences.mean(-d.q_of_q),
        "forward_kl": divergences.forward_kl(d),
        "reverse_kl": divergences.reverse_kl(d),
        "jeffreys": divergences.jeffreys(d),
    }
    estimates = {name: each.over(truth.unit) for name, each in estimates.items()}
    estimates["jensen_shannon"] = divergences.jensen_shannon(d)
    if isinstance(truth, GrammarTruth):
        estimates["valid"] = divergences.mean(d.p_of_q.isfinite().double())
    estimates["missed"] = divergences.mean((~d.q_of_p.isfinite()).double())
    return {name: finite(each) for name, each in estimates.items()}


def finite(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON: null where it is infinite."""
    both = {"mean": estimate.mean, "error": estimate.error}
    return {key: value if math.isfinite(value) else None for key, value in both.items()}
