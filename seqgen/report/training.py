"""The part of a report's page that shows training: a chart for each figure, all runs in it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqgen.algorithms.sentence_vae import COLLAPSED
from seqgen.report.charts import Series, chart, key
from seqgen.report.html import Html, element, section
from seqgen.report.scores import PARTS, Facts

SPEED = "tokens_per_second"
"""A rate, which has no meaning before the first step."""
FIGURES = {
    "nll": ("Negative log-likelihood", "nats a token"),
    "valid_ppl": ("Perplexity of the validation split", "perplexity"),
    "recon": ("Reconstruction: -log p(x | z)", "nats a sentence"),
    "kl": ("KL of posterior and prior", "nats a sentence"),
    "elbo": ("Evidence lower bound", "nats a sentence"),
    "mutual_information": ("Mutual information of sentence and code", "nats"),
    "active_units": ("Active units of the code", "units"),
    "beta": ("Weight of the KL", "weight"),
    "code_norm": ("Half the squared norm of codes", "half squared norm"),
    "code_mean": ("Codes: mean square of the means", "mean square"),
    "code_var": ("Codes: mean variance of a unit", "variance"),
    "entropy": ("Entropy of samples", "nats a token"),
    "policy_entropy": ("Entropy of the policy", "nats a token"),
    "unique": ("Different sentences among samples", "share"),
    "distinct_tokens": ("Different tokens in samples", "tokens"),
    "reward": ("Mean reward", "reward"),
    "d_loss": ("Discriminator's loss", "loss"),
    "d_accuracy": ("Discriminator's accuracy, chance 0.5", "share"),
    "d_gap": ("Discriminator's gap: cosine of real views less real with generated", "cosine"),
    "contrastive": ("Contrastive loss: of tokens, or of codes and their sentences", "loss"),
    "anisotropy": ("Likeness of a sentence's token representations", "mean cosine"),
    "critic_loss": ("Loss of the critic of sentences", "loss"),
    "code_critic_loss": ("Loss of the critic of codes", "loss"),
    "cross_entropy": ("Cross entropy of sentences given their codes", "nats a token"),
    "adversarial": ("What the generator loses to the critic of sentences", "loss"),
    "adversarial_codes": ("What the encoder loses to the critic of codes", "loss"),
    "derivatives": ("Dirichlet energy of the generator", "energy"),
    "align": ("Contrastive loss of codes of both corpora", "loss"),
    "replay_nll": ("Negative log-likelihood of the first corpus", "nats a token"),
    "energy": ("Energy of the validation split", "energy"),
    "energy_gap": ("Energy of samples above the validation split's", "energy"),
    "bonus": ("Entropy bonus", "coefficient"),
    "grad_norm": ("Gradient norm before clipping", "norm"),
    "lr": ("Learning rate", "rate"),
    "temperature": ("Calibration of the logits, or relaxation of draws", "temperature"),
    SPEED: ("Speed", "training tokens a second"),
}
"""What a figure of metrics.jsonl is called, and its unit; any other stands under its own name."""
TOGETHER = {"valid_nll": "nll", "valid_recon": "recon", "valid_kl": "kl", "valid_elbo": "elbo"}
"""Figures of the validation split drawn in the chart of the training batches' figure."""
SHARE = (0.0, 1.0)
"""What the axis of a share spans, so that a thousandth does not look like a fall."""
LIMITS = {"kl": (COLLAPSED, "collapse")}
"""A value that the chart of a figure marks by a line, and what it is."""
NOT_DRAWN = frozenset({"step", "epoch", "seconds", "collapsed"})
"""Figures that are positions, or that a line in another chart shows."""
STRETCH = 2.0
"""How much higher an axis may grow for the report before training before that is told in words instead."""


def training(facts: Facts) -> Html:
    """Draw a chart for each figure of metrics.jsonl, all runs in it."""
    figures = dict.fromkeys(
        TOGETHER.get(name, name)
        for rows in facts.metrics
        for row in rows
        for name in row
        if name not in NOT_DRAWN
    )
    ordered = sorted(figures, key=lambda name: list(FIGURES).index(name) if name in FIGURES else len(FIGURES))
    charts = [made for made in (_curve(facts, name) for name in ordered) if made]
    if not charts:
        return section("training", PARTS["training"], element("p", "No report was written yet."))
    return section("training", PARTS["training"], key(facts.key()), element("div", *charts, class_="charts"))


def _curve(facts: Facts, figure: str) -> Html | None:
    """Draw one figure, with that of the validation split where there is one."""
    other = next((name for name, of in TOGETHER.items() if of == figure), None)
    found = [
        Series(label, points, hue, dashed=other is not None and name == figure)
        for label, hue, rows in zip(facts.labels, facts.hues, facts.metrics, strict=True)
        for name in (figure, other)
        if name and (points := _points(rows, name))
    ]
    if not found:
        return None
    shown, notes = _without_start(found)
    limit = _limit(figure, shown)
    if other and any(each.dashed for each in found):
        notes.insert(0, "validation split solid, training batches dashed")
    fallen = [each.label for each in shown if limit and each.points[-1][1] < LIMITS[figure][0]]
    if fallen:
        notes.append(f"collapsed: {', '.join(dict.fromkeys(fallen))}")
    title, unit = FIGURES.get(figure, (figure, figure))
    return chart(
        [*shown, *limit],
        title=title,
        across="training step",
        up=unit,
        note="; ".join(notes),
        bounds=SHARE if unit == "share" else None,
    )


def _limit(figure: str, shown: Sequence[Series]) -> list[Series]:
    """Return the line that a figure should not cross, as long as what is drawn."""
    if figure not in LIMITS:
        return []
    value, name = LIMITS[figure]
    steps = [x for each in shown for x, _ in each.points]
    return [Series(name, [(min(steps), value), (max(steps), value)], "baseline", dashed=True, names=[name])]


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (row["step"], row[name])
        for row in rows
        if isinstance(row.get(name), int | float)
        and math.isfinite(row[name])
        and (name != SPEED or row["step"] > 0)
    ]


def _without_start(found: Sequence[Series]) -> tuple[list[Series], list[str]]:
    """Leave the point at step 0 out where it would flatten all that follows, and say what it was."""
    later = [y for each in found for x, y in each.points if x > 0]
    first = [y for each in found for x, y in each.points if x == 0]
    if not later or not first or max(later) == min(later):
        return list(found), []
    if max(later + first) - min(later + first) <= STRETCH * (max(later) - min(later)):
        return list(found), []
    kept = [Series(each.label, [p for p in each.points if p[0] > 0], each.hue, each.dashed) for each in found]
    said = ", ".join(dict.fromkeys(f"{y:.5g}" for y in first))
    return kept, [f"before training, off the chart: {said}"]
