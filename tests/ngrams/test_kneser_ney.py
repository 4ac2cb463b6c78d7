"""The Kneser–Ney model: by hand, against a direct implementation of the definition, and as a distribution."""

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from seqgen.ngrams.kneser_ney import DEFAULT_DISCOUNTS, KneserNey, fit
from seqgen.ngrams.ngram_sampler import baseline_sample, draw
from seqgen.ngrams.ngrams import EncodedText, encode_sentences

ABC = ["a", "b", "c"]


def encoded(*sentences: str) -> EncodedText:
    """Encode the letters as 0, 1, 2, … whatever the text."""
    return encode_sentences(
        [s.split() for s in sentences], {letter: i for i, letter in enumerate("abcdefgh")}
    )


def probability(model: KneserNey, sentence: list[int]) -> float:
    text = EncodedText(np.array(sentence, np.int64), np.array([len(sentence)]))
    return math.exp(-model.nll(text)[0])


def test_by_hand() -> None:
    # BOS a b EOS, BOS a EOS; order 2, words a, b; the vocabulary is a, b, UNK, EOS.
    # Bigram counts: (BOS a) 2, (a b) 1, (b EOS) 1, (a EOS) 1. Too few to estimate discounts: D = 0.5, 1, 1.5.
    # Continuation counts of the words: a 1 (BOS), b 1 (a), EOS 2 (b, a); 4 in all.
    #   discounted 0.5 + 0.5 + 1 = 2 of 4, so 1/2 is spread over 4 words: 1/8 each.
    #   p(a) = 0.5/4 + 1/8 = 1/4, p(b) = 1/4, p(EOS) = (2 - 1)/4 + 1/8 = 3/8, p(UNK) = 1/8.
    # p(a | BOS) = (2 - 1)/2 + 1/2 · 1/4 = 5/8
    # p(b | a) = (1 - 0.5)/2 + (0.5 + 0.5)/2 · 1/4 = 3/8;  p(EOS | a) = 1/4 + 1/2 · 3/8 = 7/16
    # p(EOS | b) = 0.5/1 + 0.5 · 3/8 = 11/16
    model = fit(encoded("a b", "a"), np.array([0, 1]), order=2)
    assert model.unigrams.tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 8, 3 / 8], rel=1e-12)
    assert probability(model, [0]) == pytest.approx(5 / 8 * 7 / 16, rel=1e-12)
    assert probability(model, [0, 1]) == pytest.approx(5 / 8 * 3 / 8 * 11 / 16, rel=1e-12)
    # c is UNK: after a it has half of p(UNK); after UNK, never seen, every word has its unigram probability
    assert probability(model, [0, 2]) == pytest.approx(5 / 8 * (1 / 2 * 1 / 8) * 3 / 8, rel=1e-12)


def slow(sentences: list[list[str]], order: int) -> tuple[dict, dict]:
    """Adjusted counts and discounts of every order, straight from the definition."""
    streams = [["<s>", *s, "</s>"] for s in sentences]
    raw: dict[int, Counter] = {m: Counter() for m in range(1, order + 1)}
    for stream in streams:
        for m in range(1, order + 1):
            for i in range(len(stream) - m + 1):
                gram = tuple(stream[i : i + m])
                if gram != ("<s>",):
                    raw[m][gram] += 1
    counts = {order: dict(raw[order])}
    for m in range(1, order):
        counts[m] = {}
        for gram, count in raw[m].items():
            before = {longer[0] for longer in raw[m + 1] if longer[1:] == gram}
            counts[m][gram] = count if gram[0] == "<s>" else len(before)
    discounts = {}
    for m in counts:
        n = Counter(counts[m].values())
        found = list(DEFAULT_DISCOUNTS)
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            estimated = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
            found = [
                e if 0 < e <= k else f
                for k, e, f in zip((1, 2, 3), estimated, DEFAULT_DISCOUNTS, strict=True)
            ]
        discounts[m] = [0.0, *found]
    return counts, discounts


def slow_probability(counts: dict, discounts: dict, context: tuple, word: str, vocab: int) -> float:
    m = len(context) + 1
    below = 1 / vocab if m == 1 else slow_probability(counts, discounts, context[1:], word, vocab)
    total = sum(c for gram, c in counts[m].items() if gram[:-1] == context)
    if not total:
        return below
    discounted = sum(discounts[m][min(c, 3)] for gram, c in counts[m].items() if gram[:-1] == context)
    own = counts[m].get((*context, word), 0)
    return max(0.0, own - discounts[m][min(own, 3)]) / total + discounted / total * below


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_to_a_direct_implementation_of_the_definition(order: int, seed: int) -> None:
    rng = random.Random(seed)
    train = [[rng.choice("aabbbcd") for _ in range(rng.randint(0, 5))] for _ in range(41)]
    test = [[rng.choice("abcde") for _ in range(rng.randint(0, 7))] for _ in range(17)]
    known = sorted(set(itertools.chain(*train)))
    vocabulary = {letter: i for i, letter in enumerate(known)}
    model = fit(encode_sentences(train, vocabulary), np.arange(len(known)), order)
    found = model.nll(encode_sentences(test, vocabulary))
    counts, discounts = slow(train, order)
    for sentence, nll in zip(test, found, strict=True):
        stream = ["<s>", *sentence, "</s>"]
        expected = 0.0
        for i in range(1, len(stream)):
            context = tuple(stream[max(0, i - order + 1) : i])
            expected -= math.log(slow_probability(counts, discounts, context, stream[i], len(known) + 2))
        assert nll == pytest.approx(expected, rel=1e-9)


def next_probs(model: KneserNey, context: list[int]) -> list[float]:
    """p of every word, UNK and EOS after a context."""
    words = [*range(len(model.word_ids)), 99]
    rows = [*([*context, word] for word in words), context]
    text = EncodedText(np.array([*itertools.chain(*rows)], np.int64), np.array([len(row) for row in rows]))
    ends = np.cumsum(text.lengths + 2) - 1
    places = [*(end - 1 for end in ends[:-1]), ends[-1]]  # the word before EOS, and the context's own EOS
    return np.exp(model.log_probs(text)[places]).tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_probabilities_of_every_context_sum_to_one(order: int) -> None:
    rng = random.Random(5)
    train = [[rng.choice("aabbcc") for _ in range(rng.randint(1, 6))] for _ in range(53)]
    model = fit(encode_sentences(train, {"a": 0, "b": 1, "c": 2}), np.arange(3), order)
    for length in range(order + 1):
        for context in itertools.product(range(4), repeat=length):  # 3 is out of vocabulary
            assert sum(next_probs(model, list(context))) == pytest.approx(1.0, rel=1e-9)


def test_unigrams_are_ordered_by_continuation_counts_not_by_frequency() -> None:
    # "francisco" (b) is frequent but only ever follows "san" (a); c follows many words.
    text = encoded(*["a b"] * 20, "d c", "e c", "f c", "g c")
    model = fit(text, np.arange(7), order=2)
    assert model.unigrams[2] > model.unigrams[1]
    plain = fit(text, np.arange(7), order=1)
    assert plain.unigrams[1] > plain.unigrams[2]


def test_a_model_of_blank_lines_and_of_no_lines() -> None:
    assert probability(fit(encoded("", ""), np.array([0]), order=3), []) > 0.5
    nothing = fit(encoded(), np.array([0, 1]), order=3)
    assert nothing.unigrams.tolist() == pytest.approx([1 / 4] * 4)
    assert nothing.nll(encoded("a", "h b")).tolist() == pytest.approx([2 * math.log(4), 3 * math.log(4)])
    assert len(nothing.nll(encoded())) == 0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_samples_have_the_probabilities_of_the_model(order: int) -> None:
    model = fit(encoded("a b", "a b", "a", "b a b", "b", "a a"), np.array([0, 1]), order=order)
    n = 40_000
    rows = draw(model, n, length=9, rng=np.random.default_rng(0))
    found = Counter(tuple(row[row < model.unk].tolist()) for row in rows)
    words = model.unigrams.copy()
    words[model.unk] = 0.0
    without_unk = replace(model, unigrams=words / words.sum())
    not_blank = 1 - probability(without_unk, [])
    chi_square = 0.0
    sentences = [s for length in (1, 2, 3) for s in itertools.product(range(2), repeat=length)]
    for sentence in sentences:
        expected = n * probability(without_unk, list(sentence)) / not_blank
        assert expected > 5
        chi_square += (found[sentence] - expected) ** 2 / expected
    assert () not in found
    assert chi_square < 36  # 14 degrees of freedom at most: exceeded once in a thousand


def test_the_baseline_is_seeded_bounded_in_length_and_joins_characters() -> None:
    train = ["a b c", "b c", "c a b a", ""]
    first = baseline_sample(train, 50, seed=3)
    assert first == baseline_sample(train, 50, seed=3) != baseline_sample(train, 50, seed=4)
    assert len(first) == 50
    assert all(1 <= len(line.split()) <= 4 for line in first)
    assert set(" ".join(first).split()) == {"a", "b", "c"}
    poems = baseline_sample(["秦川雄帝宅", "函谷壮皇居"], 20, seed=0, characters=True)
    assert all(" " not in line and 1 <= len(line) <= 5 for line in poems)
