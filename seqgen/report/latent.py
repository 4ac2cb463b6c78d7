"""The part of a report's page that shows codes: sentences written from theirs, and ways between them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from seqgen.inference.latent_space import Reconstruction, interpolate, reconstruct
from seqgen.report.html import Html, element, scroll, section, table
from seqgen.report.scores import PARTS
from seqgen.training.load import Trained

RECONSTRUCTED, WAYS, STEPS = 12, 3, 7
"""Test sentences reconstructed, pairs of them joined, and sentences on each way, its ends included."""


@dataclass(frozen=True)
class Showing:
    """What the page shows of the codes of one run."""

    label: str
    reconstructions: Sequence[Reconstruction]
    ways: Sequence[tuple[str, Sequence[str], str]]
    """A sentence, what is written from its code to that of another, and that other."""


def showing(label: str, found: Trained, *, seed: int = 0) -> Showing:
    """Reconstruct some sentences of a run's test split, and go from some to others."""
    test = found.corpus.test
    rows = random.Random(seed).sample(range(len(test)), k=min(RECONSTRUCTED, len(test)))
    lines = [test[row] for row in rows]
    pairs = list(zip(lines[::2], lines[1::2], strict=False))[:WAYS]
    ways = [(first, interpolate(found, first, last, STEPS, seed=seed), last) for first, last in pairs]
    return Showing(label, reconstruct(found, lines, seed=seed), ways)


def codes(showings: Sequence[Showing]) -> Html:
    """Lay out reconstructions and ways of every run that has codes."""
    note = (
        "Sentences of the test split, written again from their codes, the likeliest words; beneath, what is "
        "written at even steps on the straight line from the code of one sentence to that of another."
    )
    parts = []
    for each in showings:
        parts += [element("h3", each.label), _reconstructions(each), _ways(each)]
    return section("codes", PARTS["codes"], element("p", note, class_="note"), *parts)


def _reconstructions(found: Showing) -> Html:
    rows = [
        [pair.text, pair.reconstruction or "(blank)", f"{pair.cost:.1f}"] for pair in found.reconstructions
    ]
    return table(["sentence", "reconstruction", "nats"], rows, class_="settings")


def _ways(found: Showing) -> Html:
    columns = [
        element(
            "div",
            element("h4", f"from: {first}"),
            element("ol", *(element("li", line or "(blank)") for line in written)),
            element("p", f"to: {last}", class_="note"),
        )
        for first, written, last in found.ways
    ]
    return scroll(element("div", *columns, class_="columns"))
