"""CatGAN: a relativistic GAN of labelled sentences whose generator evolves (Liu, Wang & Liang 2020, AAAI).

As in RelGAN the generator learns through relaxed sentences, and the discriminator compares real with
generated ones, here those of the same label, which both begin with. Each update has several children: one for
each of two objectives, relativistic and relativistic average (Jolicoeur-Martineau 2019), with each of two
courses of the relaxation's temperature, exponential and linear. The fittest child goes on: the one whose
sentences the discriminator takes for realest, less a little for a low entropy. The run that training starts
from may be of labelled text (`seqgen pretrain --label-column`); without labels there is one category.

What differs from the paper, and why: one child survives, as in its experiments; a label is a token that is
read before the sentence rather than a vector beside every input; the generator's kind is that of the run that
training starts from (relational memory there); and unknown words are never sampled.

Report metrics: those of `seqgen.algorithms.relgan`, of the child that goes on; `fitness`, its score less that
of real sentences, and the weighted entropy; and `average` and `linear`, how often those children survived.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from seqgen.algorithms.base import StepMetrics
from seqgen.algorithms.relgan import RelGAN, RelGANConfig
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.core import distributed, settings
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import GAN_LOSSES
from seqgen.generation.sample import Samples
from seqgen.models.discriminator import scores

OBJECTIVES = ("relativistic", "relativistic_average")
COURSES: dict[str, Callable[[float, float], float]] = {
    "exponential": lambda most, progress: most**progress,
    "linear": lambda most, progress: 1 + (most - 1) * progress,
}
"""The inverse temperature of the relaxation, given its last value and the progress."""


@dataclass(frozen=True)
class CatGANConfig(RelGANConfig):
    """Settings of CatGAN; the generator's come from the run it starts from."""

    diversity: float = 0.001
    """weight in a child's fitness of the entropy of its sentences, nats a sentence (0.001 in the paper)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.bounds(self, diversity=(0.0, None))


class State(NamedTuple):
    """What an update changes: a network's parameters, and the moments of its optimiser."""

    weights: list[Tensor]
    moments: list[dict[str, Any]]

    @classmethod
    def of(cls, optimizer: Optimizer) -> "State":
        """Return a copy of the present state."""
        parameters = _parameters(optimizer)
        kept = [optimizer.state.get(each, {}) for each in parameters]
        return cls([each.detach().clone() for each in parameters], [_copy(each) for each in kept])

    def put_back(self, optimizer: Optimizer) -> None:
        """Go back to this state."""
        with torch.no_grad():
            for parameter, weight, moments in zip(
                _parameters(optimizer), self.weights, self.moments, strict=True
            ):
                parameter.copy_(weight)
                if moments:
                    optimizer.state[parameter] = _copy(moments)
                else:
                    optimizer.state.pop(parameter, None)

    def or_else(self, other: "State", is_better: Tensor) -> "State":
        """Return the other state where it is better, chosen where the tensors are: no host waits for it."""

        def chosen(mine: Tensor, theirs: Tensor) -> Tensor:
            # Counts of steps, which are equal, may be kept on the host.
            return theirs.where(is_better, mine) if theirs.device == is_better.device else theirs

        weights = [chosen(*pair) for pair in zip(self.weights, other.weights, strict=True)]
        moments = [
            {name: chosen(mine[name], value) for name, value in theirs.items()}
            for mine, theirs in zip(self.moments, other.moments, strict=True)
        ]
        return State(weights, moments)


class CatGAN(RelGAN):
    """A generator that evolves, and a relativistic discriminator of sentences of the same label."""

    Config = CatGANConfig
    config: CatGANConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"generator.kind": "relational-memory", "generator.head_size": 5},
        {"generator.layers": 2, "diversity": 0.1},
    )

    def generator_step(self, real: Batch, progress: float, context: Tensor) -> StepMetrics:
        """Make the children of an update, and go on with the fittest; return metrics."""
        optimizer, known = self.optimizers["generator"], without_unknown(real.tokens)
        parent = State.of(optimizer)
        best: tuple[State, dict[str, Tensor]] | None = None
        for objective in OBJECTIVES:
            for course, inverse in COURSES.items():
                parent.put_back(optimizer)
                tau = 1 / inverse(self.config.beta_max, progress)
                metrics = self._learn(objective, known, tau) | {
                    "average": float(objective != OBJECTIVES[0]),
                    "linear": float(course == "linear"),
                }
                fitness = self.fitness(known)
                values = {name: fitness.new_tensor(0.0) + value for name, value in metrics.items()}
                child = State.of(optimizer), values | {"fitness": fitness}
                best = child if best is None else _fitter(best, child)
        assert best is not None
        best[0].put_back(optimizer)
        return dict(best[1])

    def _learn(self, objective: str, real: Tensor, tau: float) -> StepMetrics:
        """Update the generator by one objective and temperature; real (R, T)."""

        def loss(real: Tensor, fake: Tensor) -> Tensor:
            return GAN_LOSSES[objective].generator(self.discriminator(real), self.discriminator(fake))

        forbid = (UNK, *self.given_tokens)
        return self.relaxed_update(
            real, loss, len(real), temperature=tau, forbid=forbid, first=self._labels(real)
        )

    def fitness(self, real: Tensor) -> Tensor:
        """Return how real the generator's sentences are scored, and how diverse they are; real (R, T)."""
        drawn = self._drawn(real)
        quality = scores(self.discriminator, drawn.tokens).mean() - scores(self.discriminator, real).mean()
        return distributed.mean(quality - self.config.diversity * drawn.log_probs.sum(dim=1).mean())

    def fakes(self, real: Tensor) -> Tensor:
        """Return generated sentences of the labels of real ones (R, T)."""
        return self._drawn(real).tokens

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, StepMetrics]:
        """Return the relativistic loss of pairs of one label, and how often the real one scores higher."""
        by_label = []
        for each in map(distributed.gather, (real, fake)):
            by_label.append(distributed.shard(each[each[:, 0].argsort(stable=True)]))
        return super().discriminator_loss(*by_label)

    @property
    def given_tokens(self) -> tuple[int, ...]:
        """The tokens that stand before sentences alone."""
        return () if self.condition is None else self.condition.forbidden

    def _labels(self, real: Tensor) -> Tensor | None:
        """Return the labels of sentences, (R, 1), or None where there are none."""
        return real[:, :1] if self.condition is not None and self.condition.labels else None

    def _drawn(self, real: Tensor) -> Samples:
        """Draw as many sentences as real ones, of their labels; (R, T)."""
        labels = self._labels(real)
        given: dict[str, Any] = {} if labels is None else {"condition": labels}
        return self.sample(len(real), forbid=(UNK,), **given)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _copy(moments: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in moments.items()}


def _fitter(
    best: tuple[State, dict[str, Tensor]], child: tuple[State, dict[str, Tensor]]
) -> tuple[State, dict[str, Tensor]]:
    """Return the fitter of two children; where they are equally fit the first."""
    is_better = child[1]["fitness"] > best[1]["fitness"]
    metrics = {name: value.where(is_better, best[1][name]) for name, value in child[1].items()}
    return best[0].or_else(child[0], is_better), metrics
