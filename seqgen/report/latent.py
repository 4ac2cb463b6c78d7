"""The section of the report that shows the latent space: reconstructions and interpolations."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from seqgen.inference.latent_space import Reconstruction, interpolate, reconstruct
from seqgen.report.html import Html, element, scroll, section, table
from seqgen.report.scores import SECTIONS
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


def latents(examples: Sequence[LatentExamples]) -> Html:
    """Lay out the examples of every run with latents."""
    note = (
        "Sentences of the test split and their greedy reconstructions; below, the sentences decoded at equal "
        "steps of a linear interpolation between two latents."
    )
    parts = []
    for each in examples:
        parts += [element("h3", each.label), _reconstructions(each), _interpolations(each)]
    return section("latents", SECTIONS["latents"], element("p", note, class_="note"), *parts)


def _reconstructions(examples: LatentExamples) -> Html:
    rows = [
        [pair.text, pair.reconstruction or "(blank)", f"{pair.nll:.1f}"] for pair in examples.reconstructions
    ]
    return table(["sentence", "reconstruction", "nats"], rows, class_="settings")


def _interpolations(examples: LatentExamples) -> Html:
    columns = [
        element(
            "div",
            element("h4", f"from: {first}"),
            element("ol", *(element("li", line or "(blank)") for line in decoded)),
            element("p", f"to: {last}", class_="note"),
        )
        for first, decoded, last in examples.interpolations
    ]
    return scroll(element("div", *columns, class_="columns"))
