"""The parts of a report's page, each from figures to markup."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from seqgen import settings
from seqgen.metrics import curve
from seqgen.metrics.curve import BASELINE, REAL
from seqgen.metrics.table import BLOCKS, Column, render
from seqgen.metrics.tokenise import Tokenise
from seqgen.report_charts import Series, chart, key
from seqgen.report_page import Html, element, join, section, table
from seqgen.report_text import Marked, histogram, top_grams, written

FIGURES = {
    "nll": ("Negative log-likelihood", "nats a token"),
    "valid_ppl": ("Perplexity of the validation split", "perplexity"),
    "entropy": ("Entropy of samples", "nats a token"),
    "policy_entropy": ("Entropy of the policy", "nats a token"),
    "unique": ("Different sentences among samples", "share"),
    "distinct_tokens": ("Different tokens in samples", "tokens"),
    "reward": ("Mean reward", "reward"),
    "d_loss": ("Discriminator's loss", "nats a sentence"),
    "d_accuracy": ("Discriminator's accuracy, chance 0.5", "share"),
    "bonus": ("Entropy bonus", "coefficient"),
    "grad_norm": ("Gradient norm before clipping", "norm"),
    "lr": ("Learning rate", "rate"),
    "temperature": ("Calibration of the logits", "temperature"),
    "tokens_per_second": ("Speed", "training tokens a second"),
}
"""What a figure of metrics.jsonl is called, and its unit; any other stands under its own name."""
TOGETHER = {"valid_nll": "nll"}
"""Figures of the validation split drawn in the chart of the training batches' figure."""
NOT_DRAWN = frozenset({"step", "epoch", "seconds"})
"""Figures that are positions."""
ORDERS = {1: "words", 2: "pairs", 3: "triples", 4: "runs of four"}


@dataclass(frozen=True)
class Facts:
    """What the sections are about; the lists hold an entry for each run."""

    names: list[str]
    """as in the scores"""
    labels: list[str]
    """as on the page"""
    hues: list[str]
    configs: list[dict[str, Any]]
    metrics: list[list[dict[str, Any]]]
    scores: dict[str, Any]

    def label(self, name: str) -> str:
        """Say how the page calls what the scores call `name`."""
        return dict(zip(self.names, self.labels, strict=True)).get(name, name)

    def key(self) -> list[tuple[str, str]]:
        """Pair the label of each run with its colour."""
        return list(zip(self.labels, self.hues, strict=True))


@dataclass(frozen=True)
class Gallery:
    """Some sentences of a source at one temperature, and shares of all `n` that were drawn."""

    heading: str
    sentences: list[Marked]
    n: int
    copied: float
    unique: float


def body(parts: Sequence[Html]) -> Html:
    """Put the parts behind each other."""
    return element("main", *parts)
