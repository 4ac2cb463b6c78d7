"""An interpolated modified Kneser–Ney n-gram model (Chen and Goodman 1999, section 3), as sorted arrays.

With adjusted counts c, the discount D(c) of one, two, or three and more, and h' = h without its first word:

    p(w | h) = (c(h w) - D(c(h w))) / C(h) + gamma(h) p(w | h'),  gamma(h) = sum_w D(c(h w)) / C(h)

and unigrams are interpolated with the uniform distribution over the closed vocabulary, UNK and EOS. For the
highest order c is the count. For lower orders c is the continuation count, the number of different words that
precede the n-gram; n-grams that begin a sentence have no preceding word and keep their count (Heafield et al.
2013). A sentence is the sequence BOS w1 … wL EOS; BOS is never predicted. Out-of-vocabulary words are UNK.
"""

from dataclasses import dataclass, field

import numpy as np

from seqgen.ngrams.ngrams import Bools, EncodedText, Floats, Ints, sum_by_key

ORDER = 5
DEFAULT_DISCOUNTS = np.array([0.5, 1.0, 1.5])
"""Discounts of an order with too few n-grams to estimate them (as in KenLM)."""


@dataclass(frozen=True)
class NgramTable:
    """The G n-grams of one order as sorted keys context · base + word, and sums over their G' contexts."""

    keys: Ints
    discounted: Floats
    """c - D of each n-gram, then a 0 for index -1, the missing n-gram; (G + 1,)"""
    total: Floats
    """C(h) of each context, (G',); 0 of a context that never occurs"""
    backoff: Floats
    """gamma(h), (G',); 1 of a context that never occurs"""

    def find(self, keys: Ints) -> Ints:
        """Return the index of the n-gram of each key, -1 where there is none; (K,) → (K,)."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


@dataclass(frozen=True)
class KneserNey:
    """A model over a closed vocabulary: words 0 … W - 1, then UNK, EOS and BOS."""

    word_ids: Ints
    """Token ids of its vocabulary, sorted, (W,)."""
    tables: list[NgramTable] = field(repr=False)
    """Tables of the orders 2, 3, …"""
    unigrams: Floats = field(repr=False)
    """Unigram probabilities of the words, UNK and EOS; (W + 2,)."""

    @property
    def unk(self) -> int:
        return len(self.word_ids)

    @property
    def eos(self) -> int:
        return len(self.word_ids) + 1

    @property
    def bos(self) -> int:
        return len(self.word_ids) + 2

    @property
    def base(self) -> int:
        """Number of words and special tokens: W + 3."""
        return len(self.word_ids) + 3

    def nll(self, text: EncodedText) -> Floats:
        """Negative log-likelihood of every sentence with its EOS, in nats; (N,)."""
        starts = np.cumsum(text.lengths + 2) - (text.lengths + 2)
        return -np.add.reduceat(self.log_probs(text), starts) if len(text) else np.zeros(0)

    def log_probs(self, text: EncodedText) -> Floats:
        """log p of every token of `token_stream`, 0 for BOS; N sentences of P tokens → (P + 2N,)."""
        stream = token_stream(text, self.word_ids)
        is_bos = stream == self.bos
        probs = self.unigrams[np.where(is_bos, 0, stream)]
        grams = stream
        for table in self.tables:
            context = preceding_ngrams(grams, is_bos)
            grams = table.find(np.where(context >= 0, context * self.base + stream, -1))
            seen = context >= 0
            seen[seen] = table.total[context[seen]] > 0
            seen_context = context[seen]
            highest_order = table.discounted[grams[seen]] / table.total[seen_context]
            probs[seen] = highest_order + table.backoff[seen_context] * probs[seen]
        return np.where(is_bos, 0.0, np.log(probs))

    def count_unknown(self, text: EncodedText) -> int:
        """Count the out-of-vocabulary tokens of a text."""
        return int((~np.isin(text.ids, self.word_ids)).sum())


def token_stream(text: EncodedText, word_ids: Ints) -> Ints:
    """Concatenate all sentences as BOS w1 … wL EOS, in the ids of a model with this vocabulary; (P + 2N,)."""
    unk, eos, bos = len(word_ids), len(word_ids) + 1, len(word_ids) + 2
    at = np.searchsorted(word_ids, text.ids).clip(max=max(0, unk - 1))
    words = np.where(word_ids[at] == text.ids, at, unk) if unk else np.full(len(text.ids), unk)
    starts = np.cumsum(text.lengths + 2) - (text.lengths + 2)
    stream = np.empty(len(words) + 2 * len(text), np.int64)
    inside = np.ones(len(stream), bool)
    ends = starts + text.lengths + 1
    inside[starts], inside[ends] = False, False
    stream[starts], stream[ends], stream[inside] = bos, eos, words
    return stream


def preceding_ngrams(grams: Ints, is_bos: Bools) -> Ints:
    """The n-gram that ends just before each position, -1 at the start of a sentence; (P,)."""
    return np.where(is_bos, -1, np.concatenate([[-1], grams])[:-1])


def fit(text: EncodedText, word_ids: Ints, order: int = ORDER) -> KneserNey:
    """Fit a model of n-grams up to `order`; `word_ids` are the token ids of its vocabulary, sorted."""
    base, bos = len(word_ids) + 3, len(word_ids) + 2
    keys, counts = adjusted_counts(token_stream(text, word_ids), order, bos=bos, base=base)
    tables = []
    contexts = base
    for m in range(1, order):
        tables.append(ngram_table(keys[m], counts[m].astype(np.float64), contexts, base))
        contexts = len(keys[m])
    return KneserNey(word_ids, tables, unigram_probs(counts[0][:bos].astype(np.float64)))


def adjusted_counts(stream: Ints, order: int, *, bos: int, base: int) -> tuple[list[Ints], list[Ints]]:
    """Count the n-grams of each order 1 … `order` of sentences that follow each other, each begun by BOS.

    stream (P,) of ids below `base`. Returns the sorted keys of every order, context · base + word with the
    context's index in the order below, and the adjusted counts; of order 1 for all ids, (base,).
    """
    ids, keys, firsts = _number_ngrams(stream, bos, base, order)
    counts = [np.zeros(0, np.int64)] * order
    counts[-1] = np.bincount(ids[-1][ids[-1] >= 0], minlength=len(keys[-1]))
    for m in range(order - 2, -1, -1):
        positions = firsts[m + 1]  # one of each n-gram one word longer; its suffix ends at the same position
        counts[m] = np.bincount(ids[m][positions], minlength=len(keys[m]) if m else base)
        if m:
            _count_sentence_starts(counts[m], ids[m], stream, bos, m)
    return keys, counts


def unigram_probs(counts: Floats) -> Floats:
    """Probabilities of the W ids that can be predicted, from their adjusted counts; (W,) → (W,)."""
    discounts = _discount(counts)
    unigrams = (counts - discounts) / max(1.0, counts.sum())
    # The discounted mass is spread over all of them (all of it without text).
    return unigrams + (1.0 - unigrams.sum()) / len(unigrams)


def _number_ngrams(
    stream: Ints, bos: int, base: int, order: int
) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """Number the n-grams of every order: index at each position (-1: none), keys, a position of each."""
    ids, keys, firsts = [stream], [np.arange(base)], [np.zeros(0, np.int64)]
    for _ in range(1, order):
        context = preceding_ngrams(ids[-1], stream == bos)
        positions = np.flatnonzero(context >= 0)
        key, first, which = np.unique(
            context[positions] * base + stream[positions], return_index=True, return_inverse=True
        )
        gram = np.full(len(stream), -1)
        gram[positions] = which
        ids.append(gram)
        keys.append(key)
        firsts.append(positions[first])
    return ids, keys, firsts


def _count_sentence_starts(counts: Ints, ids: Ints, stream: Ints, bos: int, m: int) -> None:
    """Set in place the counts of the n-grams of m + 1 tokens that begin a sentence: plain counts."""
    ends = np.flatnonzero(stream == bos) + m
    ends = ends[ends < len(stream)]
    ends = ends[(ids[ends] >= 0) & (stream[ends - m] == bos)]
    raw = np.bincount(ids[ends], minlength=len(counts))
    counts += np.where(counts == 0, raw, 0)


def _discount(counts: Floats) -> Floats:
    """Return the discount of each count: D1, D2, D3+ of Chen and Goodman 1999, equation 17; 0 for 0."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    discounts = DEFAULT_DISCOUNTS
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        estimated = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        usable = (estimated > 0) & (estimated <= [1, 2, 3])
        discounts = np.where(usable, estimated, DEFAULT_DISCOUNTS)
    return np.concatenate([[0.0], discounts])[np.minimum(counts, 3).astype(np.int64)]


def ngram_table(keys: Ints, counts: Floats, contexts: int, base: int) -> NgramTable:
    """Discount the adjusted counts of the n-grams of one order, of which there are so many contexts."""
    discounts = _discount(counts)
    context = keys // base
    total = sum_by_key(context, counts, contexts)
    discount_sums = sum_by_key(context, discounts, contexts)
    backoff = np.where(total > 0, discount_sums / np.maximum(1, total), 1.0)
    return NgramTable(keys, np.append(counts - discounts, 0.0), total, backoff)
