"""Scores of sentences under a run, and how well they tell sentences from corrupted copies of them.

A score is the log-probability of a sentence where the model has one, exact or importance-weighted, and its
energy where it has codes: the algorithm's own, else what reconstructing the sentence from its code costs. A
corruption changes a sentence, or puts another in its place:

| name       | the copy                                                            |
|------------|---------------------------------------------------------------------|
| `shuffled` | the same words in a random order                                    |
| `swapped`  | its second half before its first                                    |
| `replaced` | one word is another, drawn as often as it stands in the lines       |
| `other`    | a sentence of another corpus                                        |

Punctuation and spaces stay where they are, so that no copy is told by a full stop in its middle. Of scripts
without spaces a character is a word.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD
from seqgen.inference.latent_space import reconstruction_cost
from seqgen.metrics.tokenization import is_unspaced
from seqgen.ngrams.ngrams import Floats
from seqgen.training.load import SCORE_SAMPLES, Trained, log_likelihood, over_sentences

CHUNK = 10_000
"""Sentences scored together: enough to sort them by length, little enough to stream."""
WORD, CHARACTER = re.compile(r"\w+(?:['’-]\w+)*"), re.compile(r"\w")
NORMAL95 = 1.959964
"""The 97.5 % point of the standard normal."""


@dataclass(frozen=True)
class Score:
    """What a run says of a sentence."""

    text: str
    tokens: int
    """EOS included."""
    log_prob: float | None
    """Nats, or None without a likelihood."""
    energy: float | None
    """Higher is stranger, or None without codes; of autoencoders nats."""


def score(
    found: Trained, sentences: Sequence[str], *, samples: int = SCORE_SAMPLES, seed: int = 0
) -> Iterator[Score]:
    """Yield the scores of sentences in their order.

    `samples` codes of each sentence, drawn by the seed, estimate the log-probability of a model that has no
    exact one: more take longer and give a higher, tighter bound.
    """
    functions = _functions(found, samples, seed)
    for start in range(0, len(sentences), CHUNK):
        part = sentences[start : start + CHUNK]
        columns = {name: over_sentences(found, part, each).tolist() for name, each in functions.items()}
        for i, text in enumerate(part):
            of = {name: values[i] for name, values in columns.items()}
            yield Score(text, of["tokens"], of.get("log_prob"), of.get("energy"))


def _functions(found: Trained, samples: int, seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """What can be said of sentences (B, T) → (B,), by name."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {"tokens": lambda tokens: (tokens != PAD).sum(dim=1)}
    if found.algorithm.likelihood:
        rng = torch.Generator(found.device).manual_seed(seed)
        functions["log_prob"] = lambda tokens: log_likelihood(found, tokens, samples=samples, rng=rng)
    energy = energy_of(found.algorithm)
    if energy is not None:
        functions["energy"] = energy
    return functions


def energy_of(algorithm: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the energy of an algorithm, (B, T) → (B,); None where it has no codes."""
    if hasattr(algorithm, "energy"):
        return algorithm.energy
    if getattr(algorithm, "latent", False):
        return lambda tokens: reconstruction_cost(algorithm, tokens)
    return None


def corrupted(
    lines: Sequence[str], *, seed: int = 0, others: Sequence[str] = ()
) -> dict[str, list[str | None]]:
    """Return a corrupted copy of each line by the name of the corruption; None where there is none.

    A line of one word cannot be shuffled. `others` are drawn without replacement as long as there are any,
    and without them there is no `other`. The same lines and seed give the same copies.
    """
    word = CHARACTER if is_unspaced(lines) else WORD
    cut = [word.findall(line) for line in lines]
    pool = [each for words in cut for each in words]
    copies: dict[str, list[str | None]] = {}
    for name, change in CORRUPTIONS.items():
        rng = random.Random(f"{seed} {name}")
        changed = [change(words, pool, rng) for words in cut]
        copies[name] = [
            None if new is None or new == old else _written(line, word, new)
            for line, old, new in zip(lines, cut, changed, strict=True)
        ]
    if others:
        drawn = random.Random(f"{seed} other").sample(others, k=min(len(others), len(lines)))
        copies["other"] = [*drawn, *[None] * (len(lines) - len(drawn))]
    return copies


def _shuffled(words: list[str], pool: Sequence[str], rng: random.Random) -> list[str] | None:
    if len(set(words)) < 2:
        return None
    while (order := rng.sample(words, k=len(words))) == words:
        pass
    return order


def _swapped(words: list[str], pool: Sequence[str], rng: random.Random) -> list[str]:
    half = len(words) // 2
    return words[half:] + words[:half]


def _replaced(words: list[str], pool: Sequence[str], rng: random.Random) -> list[str] | None:
    if not words:
        return None
    at = rng.randrange(len(words))
    others = (rng.choice(pool) for _ in range(100))  # a word that is nearly all of the text has no other
    new = next((other for other in others if other != words[at]), None)
    return None if new is None else [*words[:at], new, *words[at + 1 :]]


CORRUPTIONS = {"shuffled": _shuffled, "swapped": _swapped, "replaced": _replaced}


def _written(line: str, word: re.Pattern[str], words: Sequence[str]) -> str:
    """Put words in the places of a line's own."""
    rest = iter(words)
    return word.sub(lambda match: next(rest), line)


@dataclass(frozen=True)
class Auroc:
    """The probability that a corrupted sentence is stranger than a real one, a tie counting one half."""

    value: float
    interval: tuple[float, float]
    """95 %"""
    copies: int


def auroc(usual: Floats, strange: Floats) -> Auroc:
    """Measure how well scores, higher is stranger, tell corrupted copies from their lines; (N,), (N,).

    `strange` is NaN where a line has no copy. The interval is the normal one of DeLong et al. 1988, with a
    line and its copy as one cluster (Obuchowski 1997): the two are scored alike, and count once.
    """
    has = ~np.isnan(strange)
    above, below = _placements(strange[has], usual), 1 - _placements(usual, strange[has])
    value = float(above.mean())
    parts = (below - value) / len(usual)
    parts[has] += (above - value) / has.sum()
    half = NORMAL95 * float(np.sqrt((parts**2).sum() * len(parts) / max(len(parts) - 1, 1)))
    return Auroc(value, (max(value - half, 0.0), min(value + half, 1.0)), int(has.sum()))


def _placements(values: Floats, among: Floats) -> Floats:
    """Share of `among` below each value, ties counting one half; (P,), (N,) → (P,)."""
    ordered = np.sort(among)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (
        2 * len(ordered)
    )


def discriminate(
    found: Trained,
    lines: Sequence[str],
    copies: dict[str, list[str | None]],
    *,
    samples: int = SCORE_SAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Auroc]]:
    """Measure by each score of a run how well it tells lines from corrupted copies of them (`corrupted`).

    Scores, as far as the run has them: `nats a sentence` and `nats a token`, minus the log-probability, so
    that more is stranger, `energy` and `energy a token`. UserError where a corruption changes no line.
    """
    usual = _strangeness(found, lines, samples, seed)
    table: dict[str, dict[str, Auroc]] = {name: {} for name in usual}
    for corruption, changed in copies.items():
        rows = [i for i, copy in enumerate(changed) if copy is not None]
        if not rows:
            raise UserError(f"no line can be {corruption}: give lines of several different words")
        scores = _strangeness(found, [changed[i] or "" for i in rows], samples, seed)
        for name, values in scores.items():
            strange = np.full(len(lines), np.nan)
            strange[rows] = values
            table[name][corruption] = auroc(usual[name], strange)
    return table


def _strangeness(found: Trained, lines: Sequence[str], samples: int, seed: int) -> dict[str, Floats]:
    scores = list(score(found, lines, samples=samples, seed=seed))
    named: dict[str, list[float]] = {}
    for each in scores:
        if each.log_prob is not None:
            named.setdefault("nats a sentence", []).append(-each.log_prob)
            named.setdefault("nats a token", []).append(-each.log_prob / each.tokens)
        if each.energy is not None:
            named.setdefault("energy", []).append(each.energy)
            named.setdefault("energy a token", []).append(each.energy / each.tokens)
    return {name: np.array(values) for name, values in named.items()}
