"""Mode collapse: when a report's metrics, compared with those at the start, say that training must stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How far a generator may move from where adversarial training found it."""

    unique: float = 0.5
    """Least fraction of unique sentences among the samples, as a fraction of the start's."""
    distinct_tokens: float = 0.5
    """Least number of distinct tokens in the samples, as a fraction of the start's."""
    sample_nll: float = 0.5
    """Least entropy of the policy, estimated by its samples, nats a token, as a fraction of the start's."""
    valid_nll: float = 1.0
    """Greatest rise of the negative log-likelihood of validation text, nats a token."""


@dataclass(frozen=True)
class _Metric:
    key: str
    name: str
    number: str
    """Format of its value."""


_FALLING = (
    _Metric("unique", "the fraction of unique sentences", ".2f"),
    _Metric("distinct_tokens", "the number of distinct tokens", ",.0f"),
    _Metric("sample_nll", "the entropy of the policy in nats a token", ".2f"),
)
_RISING = _Metric("valid_nll", "the validation NLL in nats a token", ".2f")


def collapsed(
    now: Mapping[str, float],
    start: Mapping[str, float],
    limits: Limits | None = None,
    *,
    samples: int | None = None,
) -> str | None:
    """Return why training should stop, in one sentence without a full stop, or None while all is well.

    now, start: the metrics of a report, any of `unique` (fraction of unique sentences, 0 … 1),
        `distinct_tokens` (a count), `sample_nll` and `valid_nll` (nats a token). Others are ignored,
        and so is a metric that either lacks. Both reports must be of equally many samples.
    samples: how many sentences were looked at, to be named in the reason.
    """
    limits = limits or Limits()
    for metric in (*_FALLING, _RISING):
        if metric.key in now and math.isfinite(start.get(metric.key, math.nan)):
            reason = _reason(metric, now[metric.key], start[metric.key], getattr(limits, metric.key), samples)
            if reason:
                return reason
    return None


def _reason(metric: _Metric, now: float, start: float, limit: float, samples: int | None) -> str | None:
    if not math.isfinite(now):
        return f"{metric.name} is {now}"
    rising = metric is _RISING
    bound = start + limit if rising else start * limit
    if (now <= bound) if rising else (now >= bound):
        return None
    of = f" in {samples:,} samples" if samples and metric.key in ("unique", "distinct_tokens") else ""
    moved = "rose" if rising else "fell"
    shown = f"{now:{metric.number}}{of} (start {start:{metric.number}}; limit {bound:{metric.number}})"
    return f"{metric.name} {moved} to {shown}"
