"""What a generator is compared with: sharpened, truncated and mixed distributions of exactly known density.

A `StepModel` says the probabilities of the next token; `StepSampler` draws sentences from it, after a
temperature and a truncation, and knows the density of exactly what it draws. `AlgorithmSampler` is the same
for a trained algorithm, by its own `sample` and `log_likelihood`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from seqgen.algorithms.base import TextAlgorithm
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.generation import resampling
from seqgen.generation.categorical import nucleus
from seqgen.models.base import Generator, evaluating
from seqgen.models.state import State

PAPER_REWARD = {
    "policy.baseline": "none",
    "policy.normalise": False,
    "policy.target_entropy": 0.0,
    "policy.teacher_forcing": 0.0,
}
"""SeqGAN's policy gradient as published: without a baseline any positive reward sharpens the policy."""
REWARDS: dict[str, dict[str, Any]] = {
    "constant": {"reward": "constant"},
    "noise": {"reward": "noise"},
    "shuffled-labels": {"reward": "shuffled_labels"},
    "constant-as-published": PAPER_REWARD | {"reward": "constant"},
    "noise-as-published": PAPER_REWARD | {"reward": "noise"},
}
"""Settings of SeqGAN by which its reward knows nothing: a gain by one is no merit of a discriminator."""
ROWS = 500
"""Sentences that are drawn or scored at a time: their (ROWS, V) probabilities are held."""
POOL = 10_000
"""Samples of a generator over which the density of what is chosen among candidates is estimated."""


class Sampler(Protocol):
    """A distribution of sentences that can be drawn from and whose exact density is known."""

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n sentences; ids (n, T), on the CPU."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log q of sentences, in nats; (N, T) → (N,), float64, on the CPU."""


class StepModel(Protocol):
    """A distribution of the next token given those before it."""

    def initial(self, batch: int) -> Any:
        """Return the state before BOS is read, of `batch` rows."""

    def step(self, last: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read a token (B,); return the probabilities of the next, (B, V), and the state."""


@dataclass
class NetworkSteps:
    """A generator, with tokens that it must not draw; the rest is renormalised."""

    generator: Generator
    forbid: Sequence[int] = ()

    def initial(self, batch: int) -> State:
        """Return the generator's state."""
        return self.generator.initial(batch)

    def step(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token (B,); return probabilities (B, V) on the CPU, and the state."""
        hidden, after = self.generator.hidden(last[:, None].to(self.generator.head.weight.device), state)
        logits = torch.nn.functional.linear(
            hidden[:, 0], self.generator.head.weight, self.generator.bias(self.forbid)
        )
        return torch.softmax(logits.float(), dim=-1).cpu(), after


@dataclass
class MixtureSteps:
    """A mixture of next-token distributions: an ensemble."""

    parts: Sequence[StepModel]
    weights: Sequence[float]
    """of the parts; they sum to 1"""

    def initial(self, batch: int) -> list[Any]:
        """Return the states of all parts."""
        return [part.initial(batch) for part in self.parts]

    def step(self, last: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """Read a token (B,); return the mixed probabilities (B, V), and the states."""
        read = [part.step(last, own) for part, own in zip(self.parts, state, strict=True)]
        mixed = sum(weight * probs for weight, (probs, _) in zip(self.weights, read, strict=True))
        assert isinstance(mixed, Tensor)
        return mixed, [after for _, after in read]


@dataclass
class StepSampler:
    """Sentences drawn token by token, after a temperature and a truncation of every distribution."""

    steps: StepModel
    """of networks that agree on where no sentence ends (`VocabHead.never_ends_at`)"""
    length: int
    temperature: float = 1.0
    top_p: float | None = None
    """the smallest set of the likeliest tokens with so much probability (Holtzman et al. 2020)"""
    min_p: float | None = None
    """tokens with so much of the likeliest one's probability (Nguyen et al. 2024, arXiv:2407.01082)"""

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n sentences by a seed; (n, length)."""
        rng = torch.Generator().manual_seed(seed)
        parts = [self._draw(min(ROWS, n - first), rng) for first in range(0, n, ROWS)]
        return torch.cat(parts)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log q of sentences, in nats, -inf where a token is cut off; (N, T) → (N,)."""
        return torch.cat([self.token_log_probs(part).sum(dim=1) for part in tokens.split(ROWS)])

    def token_log_probs(self, tokens: Tensor) -> Tensor:
        """log q(token t | those before it), 0 at PAD; (B, T) → (B, T), float64."""
        found = torch.zeros(tokens.shape, dtype=torch.float64)
        last, state = torch.full((len(tokens),), BOS), self.steps.initial(len(tokens))
        with self._evaluating():
            for t in range(int((tokens != PAD).sum(dim=1).max())):
                probs, state = self._next(last, state, t)
                last = tokens[:, t]
                own = truncate(probs, self.temperature, self.top_p, self.min_p).gather(1, last[:, None])[:, 0]
                found[:, t] = own.double().log().masked_fill(last == PAD, 0.0)
        return found

    def _next(self, last: Tensor, state: Any, t: int) -> tuple[Tensor, Any]:
        """Return the probabilities of the token at position t, without EOS where no sentence ends."""
        probs, state = self.steps.step(last, state)
        if any(each.head.never_ends_at == t for each in networks(self.steps)):
            probs = probs.clone()
            probs[:, EOS] = 0.0
        return probs, state

    def _draw(self, batch: int, rng: torch.Generator) -> Tensor:
        tokens = torch.full((batch, self.length), PAD)
        last, state = torch.full((batch,), BOS), self.steps.initial(batch)
        ended = torch.zeros(batch, dtype=torch.bool)
        with self._evaluating():
            for t in range(self.length):
                probs, state = self._next(last, state, t)
                cdf = truncate(probs, self.temperature, self.top_p, self.min_p).double().cumsum(dim=1)
                target = torch.rand(batch, 1, generator=rng, dtype=torch.float64) * cdf[:, -1:]
                last = torch.searchsorted(cdf, target, right=True)[:, 0].clamp_(max=cdf.shape[1] - 1)
                last = last.masked_fill(ended, PAD)
                tokens[:, t] = last
                ended |= last == EOS
                if ended.all():
                    break
        return tokens

    def _evaluating(self) -> Any:
        return evaluating(torch.nn.ModuleList(networks(self.steps)))


def networks(steps: StepModel) -> Iterator[Generator]:
    """Yield the generators in a step model."""
    if isinstance(steps, NetworkSteps):
        yield steps.generator
    for part in getattr(steps, "parts", ()):
        yield from networks(part)


def truncate(probs: Tensor, temperature: float, top_p: float | None, min_p: float | None) -> Tensor:
    """Return p^(1 / temperature), cut by min-p, then by top-p, and renormalised; (B, V) → (B, V)."""
    if temperature != 1.0:
        probs = torch.softmax(probs.log() / temperature, dim=-1)
    if min_p is not None:
        probs = probs.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), 0.0)
    probs = probs / probs.sum(dim=-1, keepdim=True)
    if top_p is not None:
        probs = probs.masked_fill(~nucleus(probs, top_p), 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs


@dataclass
class AlgorithmSampler:
    """A trained algorithm as a sampler: what its `sample` draws, by its own exact `log_likelihood`.

    forbid: tokens that it must not draw; the density is not renormalised for what probability they have.
    """

    algorithm: Any
    device: torch.device
    forbid: Sequence[int] = ()

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n sentences by a seed; (n, T)."""
        rng = torch.Generator(self.device).manual_seed(seed)
        drawn = [
            self.algorithm.sample(min(ROWS, n - first), forbid=tuple(self.forbid), rng=rng).tokens.cpu()
            for first in range(0, n, ROWS)
        ]
        return torch.cat(drawn)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log q of sentences; (N, T) → (N,)."""
        parts = [self.algorithm.log_likelihood(part.to(self.device)).cpu() for part in tokens.split(ROWS)]
        return torch.cat(parts).double()


@dataclass
class ChosenSampler(AlgorithmSampler):
    """A residual model as what it samples: sentences that were chosen among its candidates.

    Their density is not the model's own. Its one expectation, over the other candidates, is taken over
    `POOL` samples of the generator (`seqgen.generation.resampling.log_chosen`).
    """

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log q of sentences; (N, T) → (N,)."""
        candidates = self.algorithm.config.candidates
        parts = [self.algorithm.log_weights(part.to(self.device)) for part in tokens.split(ROWS)]
        of_generator, energies = (torch.cat([part[i].cpu() for part in parts]) for i in range(2))
        return of_generator + resampling.log_chosen(energies, candidates, self._pool)

    @cached_property
    def _pool(self) -> Tensor:
        rng = torch.Generator(self.device).manual_seed(0)
        algorithm = self.algorithm
        drawn = algorithm.propose(POOL, forbid=tuple(self.forbid), rng=rng)
        return algorithm.weigh(*drawn).cpu()


def sampler_of(algorithm: Any, length: int, device: torch.device, forbid: Sequence[int]) -> Sampler:
    """Return the sampler of a trained algorithm: by its generator's steps where it draws from that alone."""
    own = type(algorithm)
    if algorithm.takes_candidates:
        return ChosenSampler(algorithm, device, forbid)
    is_plain = own.sample is TextAlgorithm.sample and own.log_likelihood is TextAlgorithm.log_likelihood
    if is_plain and algorithm.mixed is None:
        return StepSampler(NetworkSteps(algorithm.policy, forbid), length)
    return AlgorithmSampler(algorithm, device, forbid)


def larger_by(parameters: int, count: Callable[[float], int]) -> float:
    """Return the factor of a network's sizes at which it has so many parameters, by bisection."""
    low, high = 1.0, 2.0
    while count(high) < parameters:
        high *= 2
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return math.ceil(high * 100) / 100
