"""The section of the report about training: a chart for each metric, with all runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqgen.algorithms.sentence_vae import COLLAPSED
from seqgen.report.charts import Chart, Series, chart
from seqgen.report.tables import Cell, Table

SPEED = "tokens_per_second"
"""Undefined before the first step."""
METRICS = {
    "nll": ("Negative log-likelihood", "nats per token"),
    "valid_ppl": ("Perplexity of the validation split", "perplexity"),
    "recon": ("Reconstruction: -log p(x | z)", "nats per sentence"),
    "kl": ("KL of posterior and prior", "nats per sentence"),
    "elbo": ("Evidence lower bound", "nats per sentence"),
    "mutual_information": ("Mutual information of sentence and latent", "nats"),
    "active_units": ("Active latent units", "units"),
    "reconstruction_bleu": ("BLEU-4 of greedy reconstructions", "BLEU, 0 to 100"),
    "shuffled_bleu": ("BLEU-4 of reconstructions against other sentences, the control", "BLEU, 0 to 100"),
    "beta": ("Weight of the KL", "weight"),
    "latent_norm": ("Half the squared norm of latents", "half squared norm"),
    "latent_mean": ("Latents: mean square of the posterior means", "mean square"),
    "latent_var": ("Latents: mean variance of a dimension", "variance"),
    "sample_nll": ("Negative log-likelihood of samples, an estimate of the entropy", "nats per token"),
    "policy_entropy": ("Entropy of the policy", "nats per token"),
    "unique": ("Unique sentences among samples", "fraction"),
    "distinct_tokens": ("Distinct tokens in samples", "tokens"),
    "reward": ("Mean reward", "reward"),
    "d_loss": ("Discriminator loss", "loss"),
    "d_accuracy": ("Discriminator accuracy, chance 0.5", "fraction"),
    "d_gap": ("Discriminator gap: cosine of real pairs minus real with generated", "cosine"),
    "contrastive": ("Contrastive loss: of tokens, or of latents and their sentences", "loss"),
    "anisotropy": ("Anisotropy: similarity of the token representations of a sentence", "mean cosine"),
    "critic_loss": ("Loss of the sentence critic", "loss"),
    "latent_critic_loss": ("Loss of the latent critic", "loss"),
    "cross_entropy": ("Cross entropy of sentences given their latents", "nats per token"),
    "adversarial": ("Adversarial loss of the generator, from the sentence critic", "loss"),
    "adversarial_latents": ("Adversarial loss of the encoder, from the latent critic", "loss"),
    "derivatives": ("Dirichlet energy of the generator", "energy"),
    "align": ("Contrastive loss of the latents of both corpora", "loss"),
    "replay_nll": ("Negative log-likelihood of the first corpus", "nats per token"),
    "energy": ("Energy of the validation split", "energy"),
    "energy_gap": ("Energy of samples minus that of the validation split", "energy"),
    "entropy_coefficient": ("Entropy coefficient", "coefficient"),
    "grad_norm": ("Gradient norm before clipping", "norm"),
    "lr": ("Learning rate", "rate"),
    "temperature": ("Temperature of calibration, or of the Gumbel softmax", "temperature"),
    SPEED: ("Speed", "training tokens per second"),
}
"""Title and unit of the metrics of metrics.jsonl; any other metric has its key as its title."""
VALID = "valid_"
VALIDATION_OF = {"valid_nll": "nll", "valid_recon": "recon", "valid_kl": "kl", "valid_elbo": "elbo"}
"""Metrics of the validation split, drawn in the chart of the same metric of the training batches; so is every
other `valid_…` of a metric that is reported, too."""
FRACTION_BOUNDS = (0.0, 1.0)
"""Range of the axis of a fraction, so that small changes do not look large."""
LIMITS = {"kl": (COLLAPSED, "collapse")}
"""A value that the chart of a metric marks by a line, and the label of the line."""
NOT_DRAWN = frozenset({"step", "epoch", "seconds", "collapsed"})
"""Metrics that are positions, or that are marked in another chart."""
MAX_STRETCH = 2.0
"""If the value before training enlarges the range of an axis more than this, a note states it instead."""


@dataclass(frozen=True)
class Training:
    """The charts of training, and a table of the metrics that were reported once, which are no curve."""

    charts: Sequence[Chart]
    single: Table | None


def training(
    labels: Sequence[str],
    hues: Sequence[str],
    metrics: Sequence[Sequence[Mapping[str, Any]]],
    titles: Mapping[str, tuple[str, str]] = METRICS,
) -> Training:
    """Draw a chart for each metric of metrics.jsonl, with all runs; `titles` gives titles and units."""
    reported = dict.fromkeys(
        name for rows in metrics for row in rows for name in row if name not in NOT_DRAWN
    )
    validation_of = VALIDATION_OF | {
        name: name.removeprefix(VALID)
        for name in reported
        if name.removeprefix(VALID) in {*reported} - {name}
    }
    names = dict.fromkeys(validation_of.get(name, name) for name in reported)
    order = list(titles)
    ordered = sorted(names, key=lambda name: order.index(name) if name in order else len(order))
    charts, single = [], []
    for name in ordered:
        validation = next((each for each in reported if validation_of.get(each) == name), None)
        series = [
            Series(label, points, hue, dashed=validation is not None and each == name)
            for label, hue, rows in zip(labels, hues, metrics, strict=True)
            for each in (name, validation)
            if each and (points := _points(rows, each))
        ]
        if any(len(each.points) > 1 for each in series):
            charts.append(_chart(name, series, titles, has_validation=validation is not None))
        elif series:
            single.append(_single(name, series, labels, titles))
    return Training(charts, Table(["reported once", *labels], single) if single else None)


def _single(
    metric: str, series: Sequence[Series], labels: Sequence[str], titles: Mapping[str, tuple[str, str]]
) -> list[Cell]:
    title, unit = titles.get(metric, (metric, metric))
    # Of the validation split where there is one: it is the last of a run.
    values = {each.label: f"{each.points[0][1]:.5g}" for each in series}
    return [Cell(title, [unit] if unit != title else []), *(Cell(values.get(label, "–")) for label in labels)]


def _chart(
    metric: str,
    all_series: Sequence[Series],
    titles: Mapping[str, tuple[str, str]],
    *,
    has_validation: bool,
) -> Chart:
    """Draw one metric, together with that of the validation split if there is one."""
    shown, notes = _without_start(all_series)
    limit = _limit(metric, shown)
    if has_validation and any(each.dashed for each in all_series):
        notes.insert(0, "validation split solid, training batches dashed")
    collapsed = [each.label for each in shown if limit and each.points[-1][1] < LIMITS[metric][0]]
    if collapsed:
        notes.append(f"collapsed: {', '.join(dict.fromkeys(collapsed))}")
    title, unit = titles.get(metric, (metric, metric))
    return chart(
        [*shown, *limit],
        title=title,
        x_label="training step",
        y_label=unit,
        note="; ".join(notes),
        bounds=FRACTION_BOUNDS if unit == "fraction" else None,
    )


def _limit(metric: str, shown: Sequence[Series]) -> list[Series]:
    """Return the line that a metric should not fall below, over all steps drawn."""
    if metric not in LIMITS:
        return []
    value, name = LIMITS[metric]
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


def _without_start(all_series: Sequence[Series]) -> tuple[list[Series], list[str]]:
    """Leave out the point at step 0 if it would flatten the rest of the chart, and note its value."""
    later = [y for each in all_series for x, y in each.points if x > 0]
    first = [y for each in all_series for x, y in each.points if x == 0]
    if not later or not first or max(later) == min(later):
        return list(all_series), []
    if max(later + first) - min(later + first) <= MAX_STRETCH * (max(later) - min(later)):
        return list(all_series), []
    kept = [
        Series(each.label, [p for p in each.points if p[0] > 0], each.hue, each.dashed) for each in all_series
    ]
    values = ", ".join(dict.fromkeys(f"{y:.5g}" for y in first))
    return kept, [f"before training, not drawn: {values}"]
