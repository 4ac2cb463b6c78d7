"""The watch for mode collapse: when the figures of a report, held against those at the start, say stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How far a generator may move from where adversarial training found it."""

    unique: float = 0.5
    """Least share of unique sentences among the samples, as a fraction of the start's."""
    distinct_tokens: float = 0.5
    """Least number of distinct tokens in the samples, as a fraction of the start's."""
    sample_nll: float = 0.5
    """Least entropy of the policy, estimated by its samples, nats a token, as a fraction of the start's."""
    valid_nll: float = 1.0
    """Greatest rise of the negative log-likelihood of validation text, nats a token."""


@dataclass(frozen=True)
class _Figure:
    key: str
    name: str
    number: str
    """Format of the figure."""


_FALLING = (
    _Figure("unique", "the share of unique sentences", ".2f"),
    _Figure("distinct_tokens", "the number of distinct tokens", ",.0f"),
    _Figure("sample_nll", "the entropy of the policy in nats a token", ".2f"),
)
_RISING = _Figure("valid_nll", "the validation NLL in nats a token", ".2f")


def collapsed(
    now: Mapping[str, float],
    start: Mapping[str, float],
    limits: Limits | None = None,
    *,
    samples: int | None = None,
) -> str | None:
    """Return why training should stop, in one sentence without a full stop, or None while all is well.

    now, start: the figures of a report, any of `unique` (share of unique sentences, 0 … 1),
        `distinct_tokens` (a count), `sample_nll` and `valid_nll` (nats a token). Others are ignored,
        and so is a figure that either lacks. Both reports must be of equally many samples.
    samples: how many sentences were looked at, to be named in the reason.
    """
    limits = limits or Limits()
    for figure in (*_FALLING, _RISING):
        if figure.key in now and math.isfinite(start.get(figure.key, math.nan)):
            reason = _judge(figure, now[figure.key], start[figure.key], getattr(limits, figure.key), samples)
            if reason:
                return reason
    return None


def _judge(figure: _Figure, now: float, start: float, limit: float, samples: int | None) -> str | None:
    if not math.isfinite(now):
        return f"{figure.name} is {now}"
    rising = figure is _RISING
    bound = start + limit if rising else start * limit
    if (now <= bound) if rising else (now >= bound):
        return None
    of = f" in {samples:,} samples" if samples and figure.key in ("unique", "distinct_tokens") else ""
    moved = "rose" if rising else "fell"
    shown = f"{now:{figure.number}}{of} (start {start:{figure.number}}; limit {bound:{figure.number}})"
    return f"{figure.name} {moved} to {shown}"
