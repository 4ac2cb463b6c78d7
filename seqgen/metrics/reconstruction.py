"""Corpus BLEU of reconstructions, and its control: the same reconstructions against others' sentences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU

ROTATIONS = 10
"""Ways in which the control shuffles: the scores of one alone rest on few 4-grams."""


class ReconstructionBLEU(NamedTuple):
    """How near reconstructions are to their sentences; sacrebleu's corpus BLEU-4, 0 to 100."""

    own: float
    """of each reconstruction against the sentence whose latent it was decoded from"""
    shuffled: float
    """of each against the sentence of another: what the commonest n-grams reach without a latent"""


def reconstruction_bleu(
    reconstructions: Sequence[str], sentences: Sequence[str], tokenizer: str = "none"
) -> ReconstructionBLEU:
    """Score reconstructions of N sentences, in the same order, and the control; 0 for no sentence.

    The control is the mean over `ROTATIONS` shuffles of the latents among the sentences, or N - 1 if that is
    less. They are rotations by different distances, so that no sentence keeps its own latent; of a single
    sentence there is no control, and it is 0. Where sentences are equal, theirs is as good as the own.
    `tokenizer` is sacrebleu's: `none` where tokens stand between spaces.
    """
    n = len(sentences)
    if len(reconstructions) != n:
        raise ValueError(f"{len(reconstructions)} reconstructions of {n} sentences; give one of each")
    metric = BLEU(tokenize=tokenizer)

    def score(distance: int) -> float:
        rotated = [*sentences[distance:], *sentences[:distance]]
        return float(metric.corpus_score(list(reconstructions), [rotated]).score)

    rotations = min(ROTATIONS, n - 1)
    others = [score(n * i // (rotations + 1)) for i in range(1, rotations + 1)]
    return ReconstructionBLEU(score(0) if n else 0.0, float(np.mean(others)) if others else 0.0)
