"""Fine-tuning: a model starts from a run on another, larger corpus, and stays near it.

The vocabulary is the run's with the new corpus's further words after it, so that every id of the run keeps
its row, and a word that only the large corpus has can still be read and generated.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches
from seqgen.data.tokenizer import PAD, UNK
from seqgen.functional.contrastive_losses import symmetric_info_nce
from seqgen.generation.embeddings import sentence_embeddings
from seqgen.models.base import Generator, evaluating
from seqgen.models.ngram_mixture import NGramMixture

SHAPES = ("generator", "encoder", "latent_dim", "energy")
"""Settings that say what shapes a model's weights have; a model that starts from a run has the run's."""


class ReplayBatches:
    """An endless stream of batches, each with one of another corpus as `replay`; epochs are the first's."""

    def __init__(self, batches: Batches, replay: Batches) -> None:
        self.batches, self.replay = batches, replay

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self.batches)

    @property
    def epoch(self) -> float:
        """Epochs done so far."""
        return self.batches.epoch

    def __next__(self) -> Batch:
        return replace(next(self.batches), replay=next(self.replay).tokens)

    def state_dict(self) -> dict[str, Any]:
        """Return the positions in both corpora."""
        return {"batches": self.batches.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; ValueError where it belongs to another stream."""
        self.batches.load_state_dict(state["batches"])
        self.replay.load_state_dict(state["replay"])


def shapes(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that its weights need; the dropout was for its corpus and is left out."""
    parts = {part: config["settings"][part] for part in SHAPES if part in config["settings"]}
    if "generator" in parts:
        parts["generator"] = parts["generator"] | {"dropout": None}
    return parts


def check(config: Any, before: dict[str, Any]) -> None:
    """Raise UserError where settings ask for weights of other shapes than a run's configuration has."""
    wanted, have = settings.flatten(settings.to_dict(config)), settings.flatten(before["settings"])
    for name, value in wanted.items():
        if name.split(".")[0] in SHAPES and not name.endswith(".dropout") and have.get(name, value) != value:
            raise UserError(
                f"setting {name}={value} does not fit the run to start from, which has {name}={have[name]}; "
                "leave it out"
            )


def check_ngrams(order: int, ngrams: NGramMixture | None) -> None:
    """Raise UserError where settings want n-grams of an order that are not those of the run to start from."""
    if ngrams is None or ngrams.order != order:
        has = "samples without n-grams" if ngrams is None else f"has ngram.order={ngrams.order}"
        raise UserError(
            f"setting ngram.order={order} does not fit the run to start from, which {has}; leave it out, or "
            f"start from one that was trained by 'seqgen pretrain --set ngram.order={order}'"
        )


@torch.no_grad()
def adopt(algorithm: nn.Module, weights: dict[str, Tensor], *, unknown: bool = True) -> None:
    """Give an algorithm the weights of a run of its shapes, whose vocabulary is the first part of its own.

    A word that the run does not know starts as the unknown word, which stood for such words; the probability
    that the run gave the unknown word is divided among them. Counts and moments start afresh.

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


def alignment(generator: Generator, origin: Generator, tokens: Tensor, *, temperature: float) -> Tensor:
    """Return the loss of an embedding's distance from the one before fine-tuning; (B, T) → scalar, nats.

    InfoNCE both ways between the embeddings of a batch under the two models (as Tian et al. 2020,
    "Contrastive representation distillation"): a sentence's own is to be distinguished from the others'.
    `origin` has no dropout and no gradient.
    """
    with evaluating(origin):
        targets = sentence_embeddings(origin, tokens)
    return symmetric_info_nce(sentence_embeddings(generator, tokens), targets, temperature=temperature)


def real_tokens(batch: Batch) -> int:
    """Count the tokens of a batch that are no padding, those replayed included."""
    parts = [part for part in (batch.tokens, batch.replay) if part is not None]
    return sum(int((part != PAD).sum()) for part in parts)
