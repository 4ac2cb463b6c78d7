"""Anomaly scores of sentences under a run, and how well they detect corrupted copies of sentences.

The scores are the log-probability of a sentence, exact or importance-weighted, if the model has a likelihood,
and its energy: the algorithm's own, as a residual model's, else the reconstruction loss if it has latents. A
corruption changes a sentence or replaces it:

| name       | the corrupted copy                                                  |
|------------|---------------------------------------------------------------------|
| `shuffled` | the same words in a random order                                    |
| `swapped`  | its second half before its first                                    |
| `replaced` | one word replaced by another, drawn by its frequency in the lines   |
| `other`    | a sentence of another corpus                                        |

Punctuation and spaces keep their places, so that a full stop in the middle does not reveal a copy. In scripts
without spaces, a character is a word.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.inference.latent_space import reconstruction_nll
from seqgen.metrics.auroc import Auroc, auroc
from seqgen.metrics.tokenization import is_unspaced
from seqgen.ngrams.ngrams import Floats
from seqgen.training.load import SCORE_SAMPLES, Trained, alone, log_likelihood, over_sentences

CHUNK = 10_000
"""Sentences scored together: enough to batch them by length, few enough to stream."""
WORD, CHARACTER = re.compile(r"\w+(?:['’-]\w+)*"), re.compile(r"\w")


@dataclass(frozen=True)
class Score:
    """The scores of a sentence under a run."""

    text: str
    tokens: int
    """EOS included."""
    log_prob: float | None
    """Nats, or None without a likelihood, or of an empty sentence where none was empty."""
    energy: float | None
    """Higher is more anomalous; None without energy and latents. A reconstruction loss is in nats."""


def score(
    trained: Trained, sentences: Sequence[str], *, samples: int = SCORE_SAMPLES, seed: int = 0
) -> Iterator[Score]:
    """Yield the scores of sentences in their order.

    `samples` latents of each sentence, drawn by the seed, estimate a log-probability that is not exact: more
    of them take longer and give a higher, tighter bound. Where a run's sentences are given something, it
    stands before each of these (`seqgen.data.conditions`). UserError for one of another length, where all
    sentences of the run have the same: it has no probability.
    """
    fixed = trained.run.config.get("fixed_length")
    for each in _scored(trained, sentences, samples=samples, seed=seed):
        if fixed not in (None, each.tokens):
            raise UserError(
                f"the sentence '{each.text}' has {each.tokens} tokens, and every sentence of "
                f"'{trained.run.path}' has {fixed}; it has no probability, leave it out"
            )
        # Where no sentence is empty, one has no probability, and the finite logit that says so means nothing.
        is_none = trained.run.config.get("never_empty") and not each.text.strip()
        yield replace(each, log_prob=None) if is_none else each


def _scored(trained: Trained, sentences: Sequence[str], *, samples: int, seed: int) -> Iterator[Score]:
    functions = _score_functions(trained, samples, seed)
    for start in range(0, len(sentences), CHUNK):
        part = sentences[start : start + CHUNK]
        columns = {name: over_sentences(trained, part, each).tolist() for name, each in functions.items()}
        for i, text in enumerate(part):
            row = {name: values[i] for name, values in columns.items()}
            yield Score(alone(trained, text), row["tokens"], row.get("log_prob"), row.get("energy"))


def _score_functions(trained: Trained, samples: int, seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions from sentences (B, T) to scores (B,), by name."""
    own = trained.algorithm.of_sentence
    functions: dict[str, Callable[[Tensor], Tensor]] = {"tokens": lambda tokens: own(tokens).sum(dim=1)}
    if trained.algorithm.likelihood:
        rng = torch.Generator(trained.device).manual_seed(seed)
        functions["log_prob"] = lambda tokens: log_likelihood(trained, tokens, samples=samples, rng=rng)
    energy = energy_of(trained.algorithm)
    if energy is not None:
        functions["energy"] = energy
    return functions


def energy_of(algorithm: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the energy of an algorithm, (B, T) → (B,); None if it has neither one nor latents."""
    if hasattr(algorithm, "energy"):
        return algorithm.energy
    if getattr(algorithm, "latent", False):
        return lambda tokens: reconstruction_nll(algorithm, tokens)
    return None


def corrupted(
    lines: Sequence[str], *, seed: int = 0, others: Sequence[str] = ()
) -> dict[str, list[str | None]]:
    """Return a corrupted copy of each line for every corruption; None for a line that cannot be corrupted.

    A line of one word, for example, cannot be shuffled. `others` are drawn without replacement until none is
    left; without them there is no corruption `other`. The same lines and seed give the same copies.
    """
    word = CHARACTER if is_unspaced(lines) else WORD
    split = [word.findall(line) for line in lines]
    pool = [each for words in split for each in words]
    copies: dict[str, list[str | None]] = {}
    for name, change in CORRUPTIONS.items():
        rng = random.Random(f"{seed} {name}")
        changed = [change(words, pool, rng) for words in split]
        copies[name] = [
            None if new is None or new == old else _substitute_words(line, word, new)
            for line, old, new in zip(lines, split, changed, strict=True)
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
    others = (rng.choice(pool) for _ in range(100))  # bounded: nearly all words of the text may be equal
    new = next((other for other in others if other != words[at]), None)
    return None if new is None else [*words[:at], new, *words[at + 1 :]]


CORRUPTIONS = {"shuffled": _shuffled, "swapped": _swapped, "replaced": _replaced}


def _substitute_words(line: str, word: re.Pattern[str], words: Sequence[str]) -> str:
    """Replace the words of a line one by one."""
    replacements = iter(words)
    return word.sub(lambda match: next(replacements), line)


def measure_auroc(
    trained: Trained,
    lines: Sequence[str],
    copies: dict[str, list[str | None]],
    *,
    samples: int = SCORE_SAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Auroc]]:
    """Measure the AUROC of each score of a run, of detecting corrupted copies of lines (`corrupted`).

    Returns {score: {corruption: AUROC}}. Scores, if the run has them: `nats per sentence` and `nats per
    token`, the negative log-probability, and `energy` and `energy per token`. UserError if a corruption
    changes no line.
    """
    normal = _anomaly_scores(trained, lines, samples, seed)
    table: dict[str, dict[str, Auroc]] = {name: {} for name in normal}
    for corruption, changed in copies.items():
        rows = [i for i, copy in enumerate(changed) if copy is not None]
        if not rows:
            raise UserError(f"no line can be {corruption}: give lines of several distinct words")
        anomalous = _anomaly_scores(trained, [changed[i] or "" for i in rows], samples, seed)
        for name, values in anomalous.items():
            table[name][corruption] = auroc(normal[name], values, pairs=np.array(rows))
    return table


def _anomaly_scores(trained: Trained, lines: Sequence[str], samples: int, seed: int) -> dict[str, Floats]:
    scores = list(_scored(trained, lines, samples=samples, seed=seed))
    named: dict[str, list[float]] = {}
    for each in scores:
        if each.log_prob is not None:
            named.setdefault("nats per sentence", []).append(-each.log_prob)
            named.setdefault("nats per token", []).append(-each.log_prob / each.tokens)
        if each.energy is not None:
            named.setdefault("energy", []).append(each.energy)
            named.setdefault("energy per token", []).append(each.energy / each.tokens)
    return {name: np.array(values) for name, values in named.items()}
