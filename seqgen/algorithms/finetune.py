"""From a large corpus to a small one: a model takes over a run's weights and keeps in touch with its corpus.

The vocabulary is the run's with the small corpus's further words after it, so that every id of the run keeps
its row, and a word that only the large corpus has can still be read and written.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batches import Batches
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional.contrastive_losses import info_nce
from seqgen.generation.sample import shifted
from seqgen.models.base import evaluating
from seqgen.models.rnn_generator import RNNGenerator

SHAPES = ("generator", "encoder", "code")
"""Settings that say what a model's weights are for; a model that starts from a run has the run's."""


class Pair(NamedTuple):
    """A batch of the corpus that is learnt and one of the corpus that the model comes from."""

    target: Tensor
    """(B, T) ids."""
    source: Tensor
    """(B′, T′) ids."""

    def to(self, device: torch.device, non_blocking: bool = False) -> "Pair":
        """Move both."""
        return Pair(*(part.to(device, non_blocking=non_blocking) for part in self))


class Pairs:
    """An endless stream of pairs; an epoch is one of the target's."""

    def __init__(self, target: Batches, source: Batches) -> None:
        self.target, self.source = target, source

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self.target)

    @property
    def epoch(self) -> float:
        """Epochs of the target done so far."""
        return self.target.epoch

    def __next__(self) -> Pair:
        return Pair(next(self.target), next(self.source))

    def state_dict(self) -> dict[str, Any]:
        """Return the positions in both corpora."""
        return {"target": self.target.state_dict(), "source": self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; ValueError where it belongs to another stream."""
        self.target.load_state_dict(state["target"])
        self.source.load_state_dict(state["source"])


def shapes(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that its weights need, but for the dropout, which its corpus chose."""
    parts = {part: config["settings"][part] for part in SHAPES if part in config["settings"]}
    return parts | {"generator": parts["generator"] | {"dropout": None}}


def check(config: Any, before: dict[str, Any]) -> None:
    """Raise UserError where settings ask for weights of other shapes than a run's configuration has."""
    wanted, have = settings.flatten(settings.to_dict(config)), settings.flatten(before["settings"])
    for name, value in wanted.items():
        if name.split(".")[0] in SHAPES and not name.endswith(".dropout") and have.get(name, value) != value:
            raise UserError(
                f"setting {name}={value} does not fit the run to start from, which has {name}={have[name]}; "
                "leave it out"
            )


@torch.no_grad()
def adopt(algorithm: nn.Module, weights: dict[str, Tensor], *, unknown: bool = True) -> None:
    """Give an algorithm the weights of a run of its shapes, whose vocabulary is the first part of its own.

    A word that the run does not know starts as the unknown word, which stood for such words; the probability
    that the run gave the unknown word is shared out among them. Counts and moments start afresh.

    Args:
        unknown: the run has seen unknown words; of one that has not, a new word starts as the mean of all.
    """
    for name, mine in algorithm.named_parameters():
        given = weights.get(name)
        if given is None:
            continue
        mine[: len(given)] = given
        if new := len(mine) - len(given):
            like = given[UNK] - (math.log(new) if given.dim() == 1 else 0.0) if unknown else given.mean(dim=0)
            mine[len(given) :] = like
    origin = getattr(algorithm, "origin", None)
    if isinstance(origin, nn.Module):
        origin.load_state_dict(algorithm.get_submodule("generator").state_dict())


def codes(generator: RNNGenerator, batch: Tensor) -> Tensor:
    """Mean of the states that a sentence's tokens are predicted from; (B, T) ids → (B, H)."""
    mask = batch != PAD
    states, _ = generator.representations(shifted(batch), generator.initial(len(batch)))
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def alignment(generator: RNNGenerator, origin: RNNGenerator, batch: Tensor, *, temperature: float) -> Tensor:
    """Tie the code of a sentence to the one it had where the generator comes from; a scalar, in nats.

    InfoNCE both ways between the codes of a batch under the two models (as Tian et al. 2020, "Contrastive
    representation distillation"): a sentence's own is to be told from the others'. `origin` has no dropout
    and no gradient.
    """
    with evaluating(origin):
        aims = codes(origin, batch)
    mine = codes(generator, batch)
    return (info_nce(mine, aims, temperature=temperature) + info_nce(aims, mine, temperature=temperature)) / 2


def real_tokens(batch: Tensor | Pair) -> int:
    """Count the tokens of a batch that are no padding, or of both of a pair."""
    parts = batch if isinstance(batch, Pair) else (batch,)
    return sum(int((part != PAD).sum()) for part in parts)
