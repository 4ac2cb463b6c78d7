"""The n-gram baseline: sentences drawn from a Kneser–Ney model of the training sentences.

What a model of seconds reaches, beside which a trained generator's figures mean something. The draws are
exact: at every order the next word comes from the n-grams seen there with probability 1 - gamma(h), else from
the next shorter context, and below single words evenly from the vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from seqgen.ngrams.kneser_ney import KneserNey, Level, fit
from seqgen.ngrams.ngrams import Floats, Ints, code_sentences

ORDER = 4
TRAIN = 100_000
"""At most so many sentences are learned from."""


def baseline_sample(
    train: Sequence[str], n: int, *, seed: int, characters: bool = False, order: int = ORDER
) -> list[str]:
    """Draw n sentences from a Kneser–Ney model of `order` fitted to at most 100,000 training sentences.

    Words stand between white space, or are characters; none is blank, and none longer than the longest
    training sentence.
    """
    rng = np.random.default_rng(seed)
    lines = [line for line in train if line.strip()]
    if len(lines) > TRAIN:
        lines = [lines[i] for i in np.sort(rng.choice(len(lines), size=TRAIN, replace=False))]
    vocabulary: dict[str, int] = {}
    split = (lambda line: [c for c in line if not c.isspace()]) if characters else str.split
    text = code_sentences(map(split, lines), vocabulary)
    model = fit(text, np.arange(len(vocabulary)), order)
    rows = draw(model, n, length=int(text.lengths.max()), rng=rng)
    names, between = [*vocabulary, ""], "" if characters else " "
    return [between.join(names[i] for i in row[row < model.unk]) for row in rows]


def draw(model: KneserNey, n: int, *, length: int, rng: np.random.Generator) -> Ints:
    """Draw n sentences of 1 … length words, each a row of ids with EOS behind it; (n, length)."""
    made = np.full((n, length), model.eos)
    # Of each sentence, the ids of its last 1, 2, … words as n-grams; -1 where they were never seen together.
    state = [np.full(n, model.bos), *(np.full(n, -1) for _ in model.levels[1:])]
    next_word = _Next(model, rng)
    writing = np.arange(n)
    for t in range(length):
        word = next_word([ids[writing] for ids in state])
        while t == 0 and (blank := word == model.eos).any():
            word[blank] = next_word([ids[writing[blank]] for ids in state])
        made[writing, t] = word
        for m in range(len(state) - 1, 0, -1):
            context = state[m - 1][writing]
            key = np.where(context >= 0, context * model.base + word, -1)
            state[m][writing] = model.levels[m - 1].find(key)
        state[0][writing] = word
        writing = writing[word != model.eos]
    return made


class _Next:
    """Draws the next word of many sentences at once."""

    def __init__(self, model: KneserNey, rng: np.random.Generator) -> None:
        single = model.words.copy()
        single[model.unk] = 0.0
        self.levels = model.levels
        self.base = model.base
        self.single = np.cumsum(single)
        # mass of the n-grams before each, so that a context's lie between two of these sums
        self.before = [np.concatenate([[0.0], np.cumsum(level.mass[:-1])]) for level in model.levels]
        self.rng = rng

    def __call__(self, state: list[Ints]) -> Ints:
        """Draw a word for each of K sentences; `state`: their last words as n-grams of every order, (K,)."""
        drawn = self.rng.random(len(state[0])) * self.single[-1]
        word = np.searchsorted(self.single, drawn, side="right").clip(max=len(self.single) - 1)
        undecided = np.ones(len(word), bool)
        for level, before, ids in reversed(list(zip(self.levels, self.before, state, strict=False))):
            u = self.rng.random(len(word))
            seen = undecided & (ids >= 0)
            seen[seen] = level.total[ids[seen]] > 0
            here = seen & (u >= np.where(seen, level.backoff[ids], 1.0))
            word[here] = self._of_context(level, before, ids[here])
            undecided &= ~here
        return word

    def _of_context(self, level: Level, before: Floats, context: Ints) -> Ints:
        """Draw from what follows each context, by its mass."""
        first = np.searchsorted(level.keys, context * self.base)
        last = np.searchsorted(level.keys, (context + 1) * self.base) - 1
        mass = self.rng.random(len(context)) * (before[last + 1] - before[first]) + before[first]
        at = np.searchsorted(before, mass, side="right") - 1
        return level.keys[np.clip(at, first, last)] % self.base
