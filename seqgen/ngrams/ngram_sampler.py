"""The n-gram baseline: sentences sampled from a Kneser–Ney model of the training sentences.

The model is fitted in seconds; a trained generator should score better. Sampling is exact: with probability
1 - gamma(h) the next word is drawn from the n-grams seen after the context h, otherwise from the next shorter
context, and at last uniformly from the vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from seqgen.ngrams.kneser_ney import KneserNey, NgramTable, fit
from seqgen.ngrams.ngrams import Floats, Ints, encode_sentences

ORDER = 4
MAX_TRAIN_SENTENCES = 100_000


def baseline_sample(
    train: Sequence[str], n: int, *, seed: int, characters: bool = False, order: int = ORDER
) -> list[str]:
    """Sample n sentences from a Kneser–Ney model of `order` fitted to at most 100,000 training sentences.

    Tokens are separated by white space, or are single characters. No sentence is blank or longer than the
    longest training sentence.
    """
    rng = np.random.default_rng(seed)
    lines = [line for line in train if line.strip()]
    if len(lines) > MAX_TRAIN_SENTENCES:
        lines = [lines[i] for i in np.sort(rng.choice(len(lines), size=MAX_TRAIN_SENTENCES, replace=False))]
    vocabulary: dict[str, int] = {}
    split = (lambda line: [c for c in line if not c.isspace()]) if characters else str.split
    text = encode_sentences(map(split, lines), vocabulary)
    model = fit(text, np.arange(len(vocabulary)), order)
    rows = draw(model, n, length=int(text.lengths.max()), rng=rng)
    tokens, separator = [*vocabulary, ""], "" if characters else " "
    return [separator.join(tokens[i] for i in row[row < model.unk]) for row in rows]


def draw(model: KneserNey, n: int, *, length: int, rng: np.random.Generator) -> Ints:
    """Sample n sentences of 1 … length words, each a row of ids filled up with EOS; (n, length)."""
    sampled = np.full((n, length), model.eos)
    # The n-gram ids of the last 1, 2, … words of each sentence; -1 for an n-gram that was never seen.
    state = [np.full(n, model.bos), *(np.full(n, -1) for _ in model.tables[1:])]
    next_word = _NextWord(model, rng)
    active = np.arange(n)
    for t in range(length):
        word = next_word([ids[active] for ids in state])
        while t == 0 and (blank := word == model.eos).any():
            word[blank] = next_word([ids[active[blank]] for ids in state])
        sampled[active, t] = word
        for m in range(len(state) - 1, 0, -1):
            context = state[m - 1][active]
            key = np.where(context >= 0, context * model.base + word, -1)
            state[m][active] = model.tables[m - 1].find(key)
        state[0][active] = word
        active = active[word != model.eos]
    return sampled


class _NextWord:
    """Samples the next word of many sentences at once."""

    def __init__(self, model: KneserNey, rng: np.random.Generator) -> None:
        unigrams = model.unigrams.copy()
        unigrams[model.unk] = 0.0
        self.tables = model.tables
        self.base = model.base
        self.unigram_sums = np.cumsum(unigrams)
        # The n-grams of a context are neighbours, so two of these sums bound its mass: inverse CDF sampling.
        self.cumulative = [
            np.concatenate([[0.0], np.cumsum(table.discounted[:-1])]) for table in model.tables
        ]
        self.rng = rng

    def __call__(self, state: list[Ints]) -> Ints:
        """Sample a word for each of K sentences; `state`: n-gram ids of their last words, (K,) per order."""
        drawn = self.rng.random(len(state[0])) * self.unigram_sums[-1]
        word = np.searchsorted(self.unigram_sums, drawn, side="right").clip(max=len(self.unigram_sums) - 1)
        undecided = np.ones(len(word), bool)
        for table, cumulative, ids in reversed(list(zip(self.tables, self.cumulative, state, strict=False))):
            u = self.rng.random(len(word))
            seen = undecided & (ids >= 0)
            seen[seen] = table.total[ids[seen]] > 0
            here = seen & (u >= np.where(seen, table.backoff[ids], 1.0))
            word[here] = self._after_context(table, cumulative, ids[here])
            undecided &= ~here
        return word

    def _after_context(self, table: NgramTable, cumulative: Floats, context: Ints) -> Ints:
        """Sample from the words seen after each context, in proportion to their discounted counts."""
        first = np.searchsorted(table.keys, context * self.base)
        last = np.searchsorted(table.keys, (context + 1) * self.base) - 1
        mass = self.rng.random(len(context)) * (cumulative[last + 1] - cumulative[first]) + cumulative[first]
        at = np.searchsorted(cumulative, mass, side="right") - 1
        return table.keys[np.clip(at, first, last)] % self.base
