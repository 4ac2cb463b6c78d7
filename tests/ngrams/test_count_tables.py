"""The count tables against a Kneser–Ney model of dictionaries, written from the formulas of the paper."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from seqgen.ngrams.count_tables import BOS, count, tables

EOS, UNK, VOCAB = 2, 3, 13
ORDER = 4


def sentences(seed: int, n: int = 67) -> list[list[int]]:
    """Sentences of 0 … 8 tokens of a few, so that n-grams recur, some of them without an end."""
    rng = np.random.default_rng(seed)
    lines = [
        (3 + rng.geometric(0.35, size=rng.integers(0, 9)).clip(max=VOCAB - 4)).tolist() for _ in range(n)
    ]
    return [[*line, EOS] if i % 11 else line for i, line in enumerate(lines)]


def stream_of(lines: list[list[int]]) -> np.ndarray:
    return np.array([token for line in lines for token in (BOS, *line)])


class Dictionaries:
    """p(w | h) by recursion over dictionaries of counts, n-grams as tuples."""

    def __init__(self, lines: list[list[int]], order: int) -> None:
        raw = [Counter() for _ in range(order + 1)]
        for line in lines:
            words = (BOS, *line)
            for n in range(1, order + 1):
                raw[n].update(words[i - n : i] for i in range(n, len(words) + 1))
        self.order, self.counts = order, {order: raw[order]}
        for n in range(order - 1, 0, -1):
            left = defaultdict(set)
            for gram in raw[n + 1]:
                left[gram[1:]].add(gram[0])
            self.counts[n] = Counter({gram: len(left[gram]) or raw[n][gram] for gram in raw[n]})
        del self.counts[1][(BOS,)]
        self.discounts = {n: self.discount(self.counts[n].values()) for n in self.counts}

    @staticmethod
    def discount(counts) -> list[float]:
        n = [sum(c == k for c in counts) for k in range(5)]
        fallback = [0.5, 1.0, 1.5]
        if not (n[1] and n[2] and n[3]):
            return fallback
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return [d if 0 < d <= k else f for d, k, f in zip(found, (1, 2, 3), fallback, strict=True)]

    def p(self, word: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        discount = lambda c: self.discounts[n][min(c, 3) - 1]  # noqa: E731
        lower = self.p(word, context[1:]) if context else 1 / (VOCAB - 2)
        seen = {gram[-1]: c for gram, c in self.counts[n].items() if gram[:-1] == context}
        total = sum(seen.values())
        if not total:
            return lower
        direct = seen[word] - discount(seen[word]) if word in seen else 0.0
        return (direct + sum(map(discount, seen.values())) * lower) / total


@pytest.fixture(scope="module")
def model():
    lines = sentences(5)
    return tables(count(stream_of(lines), VOCAB, ORDER)), Dictionaries(lines, ORDER)


def read(model, prefix: list[int]) -> torch.Tensor:
    """Contexts after a prefix, token by token."""
    contexts = model.begin(1)
    for token in (BOS, *prefix):
        contexts = model.read(torch.tensor([[token]]), contexts)[:, 0]
    return contexts


def prefixes() -> list[list[int]]:
    seen = [line[:t] for line in sentences(5)[:7] for t in range(len(line))]
    return seen + [line[:-1] for line in sentences(23, n=19) if line]


def test_probabilities_are_those_of_dictionaries(model):
    by_tables, by_dictionaries = model
    for prefix in prefixes():
        contexts = read(by_tables, prefix)
        history = (BOS, *prefix)[-(ORDER - 1) :]
        for token in range(EOS, VOCAB):
            token_ = torch.tensor([token])
            expected = by_dictionaries.p(token, history)
            assert float(by_tables.probs(contexts, token_)) == pytest.approx(expected, abs=1e-10)


def test_probabilities_sum_to_one_and_are_the_distribution(model):
    by_tables, _ = model
    contexts = torch.cat([read(by_tables, prefix) for prefix in prefixes()])
    dense = by_tables.distribution(contexts)
    assert torch.allclose(dense.sum(dim=1), torch.ones(len(dense), dtype=torch.float64), rtol=0, atol=1e-12)
    assert (dense[:, :EOS] == 0).all()
    for token in range(VOCAB):
        tokens = torch.full((len(contexts),), token)
        one = by_tables.probs(contexts, tokens)
        assert torch.allclose(dense[:, token], one, rtol=0, atol=1e-12)


def test_reading_at_once_is_reading_token_by_token(model):
    by_tables, _ = model
    tokens = torch.tensor([[BOS, 4, 5, 4, 4, 6], [BOS, 4, 4, 9, 3, 2], [BOS, 7, 7, 7, 7, 7]])
    at_once = by_tables.read(tokens, by_tables.begin(3))
    contexts = by_tables.begin(3)
    for t in range(tokens.shape[1]):
        contexts = by_tables.read(tokens[:, t : t + 1], contexts)[:, 0]
        assert (at_once[:, t] == contexts).all()
    half = by_tables.read(tokens[:, :3], by_tables.begin(3))
    assert (by_tables.read(tokens[:, 3:], half[:, -1]) == at_once[:, 3:]).all()
    assert (at_once[0, 3] > 0).all()  # BOS 4 5 4 is in the text, so nothing is compared with nothing alone


def test_memory_is_that_of_the_n_grams_of_the_text(model):
    by_tables, by_dictionaries = model
    grams = sum(len(by_dictionaries.counts[n]) for n in range(2, ORDER + 1))
    assert len(by_tables.keys) == grams
    assert len(by_tables.cumulative) == grams + 1
    assert len(by_tables.first) <= VOCAB + grams + 1


def test_a_text_of_one_token_has_tables():
    model = tables(count(np.array([BOS, EOS]), 5, 3))
    # One bigram, BOS EOS: c - D = 0.5 of C = 1; the unigram is 0.5 + 0.5 / 3 = 2/3, as there are three ids.
    tokens = torch.tensor([EOS])
    contexts = model.read(torch.tensor([[BOS]]), model.begin(1))[:, 0]
    assert float(model.probs(contexts, tokens)) == pytest.approx(5 / 6, abs=1e-9)
