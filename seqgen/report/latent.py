"""The section of the report that shows the latent space: reconstructions and interpolations."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from seqgen.inference.latent_space import Reconstruction, interpolate, reconstruct
from seqgen.report.tables import Table, cells
from seqgen.training.load import Trained, alone

RECONSTRUCTIONS, INTERPOLATIONS, STEPS = 12, 3, 7
"""Test sentences reconstructed, pairs of them interpolated, and steps of each, both ends included."""


@dataclass(frozen=True)
class LatentExamples:
    """The examples of one run."""

    label: str
    reconstructions: Sequence[Reconstruction]
    interpolations: Sequence[tuple[str, Sequence[str], str]]
    """first sentence, sentences decoded between both latents, last sentence"""

    @property
    def table(self) -> Table:
        """The reconstructions with their losses, in nats."""
        rows = [
            cells(pair.text, pair.reconstruction or "(blank)", f"{pair.nll:.1f}")
            for pair in self.reconstructions
        ]
        return Table(["sentence", "reconstruction", "nats"], rows, kind="settings")


def latent_examples(label: str, trained: Trained, *, seed: int = 0) -> LatentExamples:
    """Reconstruct some sentences of a run's test split, and interpolate between pairs of them."""
    test = trained.corpus.test.whole
    rows = random.Random(seed).sample(range(len(test)), k=min(RECONSTRUCTIONS, len(test)))
    lines = [test[row] for row in rows]
    pairs = list(zip(lines[::2], lines[1::2], strict=False))[:INTERPOLATIONS]
    interpolations = [
        (alone(trained, first), interpolate(trained, first, last, STEPS, seed=seed), alone(trained, last))
        for first, last in pairs
    ]
    return LatentExamples(label, reconstruct(trained, lines, seed=seed), interpolations)
