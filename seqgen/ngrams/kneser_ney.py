"""An interpolated modified Kneser–Ney n-gram model (Chen and Goodman 1999, section 3), in sorted tables.

With adjusted counts c, the discount D(c) of one, two, or three and more, and h' = h without its first word:

    p(w | h) = (c(h w) - D(c(h w))) / C(h) + gamma(h) p(w | h'),  gamma(h) = sum_w D(c(h w)) / C(h)

and below the single words the uniform distribution over the closed vocabulary, UNK and EOS. The longest
n-grams are counted as they stand; shorter ones by how many different words stand before them (continuation
counts), except those that begin a sentence, before which nothing can stand (as in Heafield et al. 2013). A
sentence is read as BOS w1 … wL EOS; BOS is never predicted. A word outside the vocabulary is UNK.
"""

from dataclasses import dataclass, field

import numpy as np

from seqgen.ngrams.ngrams import Bools, Coded, Floats, Ints, tally

ORDER = 5
FALLBACK = np.array([0.5, 1.0, 1.5])
"""Discounts of an order with too few n-grams to estimate them (as in KenLM)."""


@dataclass(frozen=True)
class Level:
    """The G n-grams of one order as context · base + word, sorted; figures of contexts are (G',)."""

    keys: Ints
    mass: Floats
    """c - D of each n-gram, then 0, which index -1 finds; (G + 1,)"""
    total: Floats
    """C(h) of each context, (G',); 0 where nothing follows it"""
    backoff: Floats
    """gamma(h), (G',); 1 where nothing follows it"""

    def find(self, keys: Ints) -> Ints:
        """Return the n-gram of each key, -1 where there is none; (K,) → (K,)."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


@dataclass(frozen=True)
class KneserNey:
    """A model over a closed vocabulary: words 0 … W - 1, then UNK, EOS and BOS."""

    known: Ints
    """The codes of its words, sorted, (W,)."""
    levels: list[Level] = field(repr=False)
    """Levels of the orders 2, 3, …"""
    words: Floats = field(repr=False)
    """p of single words, UNK and EOS, without a context; (W + 2,)."""

    @property
    def unk(self) -> int:
        return len(self.known)

    @property
    def eos(self) -> int:
        return len(self.known) + 1

    @property
    def bos(self) -> int:
        return len(self.known) + 2

    @property
    def base(self) -> int:
        """Words and specials together: W + 3."""
        return len(self.known) + 3

    def nats(self, text: Coded) -> Floats:
        """-log p of every sentence with its EOS, in nats; (N,)."""
        begins = np.cumsum(text.lengths + 2) - (text.lengths + 2)
        return -np.add.reduceat(self.log_probs(text), begins) if len(text) else np.zeros(0)

    def log_probs(self, text: Coded) -> Floats:
        """log p of every token as `read` writes them, 0 of BOS; N sentences of P tokens → (P + 2N,)."""
        stream = read(text, self.known)
        begins = stream == self.bos
        probs = self.words[np.where(begins, 0, stream)]
        grams = stream
        for level in self.levels:
            context = before(grams, begins)
            grams = level.find(np.where(context >= 0, context * self.base + stream, -1))
            seen = context >= 0
            seen[seen] = level.total[context[seen]] > 0
            within = context[seen]
            own = level.mass[grams[seen]] / level.total[within]
            probs[seen] = own + level.backoff[within] * probs[seen]
        return np.where(begins, 0.0, np.log(probs))

    def unknown(self, text: Coded) -> int:
        """Count the tokens of a text that are UNK to the model."""
        return int((~np.isin(text.codes, self.known)).sum())


def read(text: Coded, known: Ints) -> Ints:
    """Write the sentences behind each other as BOS w1 … wL EOS in the ids of a model that knows `known`."""
    unk, eos, bos = len(known), len(known) + 1, len(known) + 2
    at = np.searchsorted(known, text.codes).clip(max=max(0, unk - 1))
    words = np.where(known[at] == text.codes, at, unk) if unk else np.full(len(text.codes), unk)
    begins = np.cumsum(text.lengths + 2) - (text.lengths + 2)
    stream = np.empty(len(words) + 2 * len(text), np.int64)
    inside = np.ones(len(stream), bool)
    ends = begins + text.lengths + 1
    inside[begins], inside[ends] = False, False
    stream[begins], stream[ends], stream[inside] = bos, eos, words
    return stream


def before(grams: Ints, begins: Bools) -> Ints:
    """The n-gram that ends just before each place, -1 where a sentence begins; (P,)."""
    return np.where(begins, -1, np.concatenate([[-1], grams])[:-1])


def fit(text: Coded, known: Ints, order: int = ORDER) -> KneserNey:
    """Fit a model of n-grams up to `order` to sentences; `known` are the codes of its vocabulary, sorted."""
    stream = read(text, known)
    base, bos = len(known) + 3, len(known) + 2
    ids, keys, firsts = _number(stream, bos, base, order)
    counts = [np.zeros(0, np.int64)] * order
    counts[-1] = np.bincount(ids[-1][ids[-1] >= 0], minlength=len(keys[-1]))
    for m in range(order - 2, -1, -1):
        places = firsts[m + 1]  # one place of each gram one word longer: it ends where its suffix ends
        counts[m] = np.bincount(ids[m][places], minlength=len(keys[m]) if m else base)
        if m:
            _count_beginnings(counts[m], ids[m], stream, bos, m)
    if order == 1:
        counts[0] = np.bincount(stream, minlength=base)
    single = counts[0][: base - 1].astype(np.float64)
    taken = _discount(single)
    words = (single - taken) / max(1.0, single.sum())
    words += (1.0 - words.sum()) / len(words)  # what was taken, or all where nothing was seen, evenly
    levels = []
    contexts = base
    for m in range(1, order):
        levels.append(_level(keys[m], counts[m].astype(np.float64), contexts, base))
        contexts = len(keys[m])
    return KneserNey(known, levels, words)


def _number(stream: Ints, bos: int, base: int, order: int) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """Number the grams of every order: of each place (-1: none), their keys, and one place of each."""
    ids, keys, firsts = [stream], [np.arange(base)], [np.zeros(0, np.int64)]
    for _ in range(1, order):
        context = before(ids[-1], stream == bos)
        places = np.flatnonzero(context >= 0)
        key, first, which = np.unique(
            context[places] * base + stream[places], return_index=True, return_inverse=True
        )
        gram = np.full(len(stream), -1)
        gram[places] = which
        ids.append(gram)
        keys.append(key)
        firsts.append(places[first])
    return ids, keys, firsts


def _count_beginnings(counts: Ints, ids: Ints, stream: Ints, bos: int, m: int) -> None:
    """Count the grams of m + 1 words that begin a sentence as they stand; changes `counts`."""
    ends = np.flatnonzero(stream == bos) + m
    ends = ends[ends < len(stream)]
    ends = ends[(ids[ends] >= 0) & (stream[ends - m] == bos)]
    raw = np.bincount(ids[ends], minlength=len(counts))
    counts += np.where(counts == 0, raw, 0)


def _discount(counts: Floats) -> Floats:
    """Return what each count loses: D1, D2, D3+ of Chen and Goodman 1999, equation 17; 0 of 0."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    discounts = FALLBACK
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        estimated = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        usable = (estimated > 0) & (estimated <= [1, 2, 3])
        discounts = np.where(usable, estimated, FALLBACK)
    return np.concatenate([[0.0], discounts])[np.minimum(counts, 3).astype(np.int64)]


def _level(keys: Ints, counts: Floats, contexts: int, base: int) -> Level:
    taken = _discount(counts)
    context = keys // base
    total = tally(context, counts, contexts)
    lost = tally(context, taken, contexts)
    mass = np.append(counts - taken, 0.0)
    return Level(keys, mass, total, np.where(total > 0, lost / np.maximum(1, total), 1.0))
