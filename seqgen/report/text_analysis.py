"""Analysis of sentences for the report: overlap with training text, n-grams, lengths."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seqgen.evaluation.references import MAX_TRAIN_SENTENCES, Vocabulary, random_subset
from seqgen.metrics.copying import longest_common_substring
from seqgen.metrics.diversity import copied
from seqgen.metrics.tokenization import Tokenise
from seqgen.ngrams.ngrams import EncodedText, Ints, encode_sentences

TREEBANK_QUOTES = ("``", "''")
"""The tokens of a double quotation mark under the treebank tokenisation."""


@dataclass(frozen=True)
class MarkedSentence:
    """A sentence, whether it is in the training set, and its longest common substring with a training one."""

    text: str
    copy: bool
    longest: int
    """length of the substring, in tokens"""
    span: tuple[int, int]
    """characters of `text` that the substring covers; (0, 0) if they cannot be located"""

    @property
    def shown(self) -> str:
        """The sentence, or a word for one of nothing but white space."""
        return self.text or "(blank)"

    @property
    def parts(self) -> tuple[str, str, str]:
        """What stands before the substring, the substring, and what stands behind it."""
        start, stop = self.span
        return self.shown[:start], self.shown[start:stop], self.shown[stop:]


def mark_copies(
    lines: Sequence[str], train: Sequence[str], vocabulary: Vocabulary, *, seed: int = 0
) -> list[MarkedSentence]:
    """Find the overlap of sentences with the training set.

    Exact copies (`seqgen.metrics.diversity.copied`) are searched in the whole training set, common substrings
    in at most 100,000 of its sentences, drawn by the seed.
    """
    encoded_train = vocabulary.encode(random_subset(train, MAX_TRAIN_SENTENCES, seed))
    longest = longest_common_substring(vocabulary.encode(lines), encoded_train)
    tokenised = [vocabulary.tokenise(line) for line in lines]
    starts = _starts(tokenised, longest, encoded_train, vocabulary)
    return [
        MarkedSentence(
            line, copy, int(length), _span(line, vocabulary.tokenise(line), start, start + int(length))
        )
        for line, copy, length, start in zip(lines, copied(lines, train), longest, starts, strict=True)
    ]


def _starts(
    sentences: Sequence[list[str]], longest: Ints, train: EncodedText, vocabulary: Vocabulary
) -> list[int]:
    """Return the index of the token at which the longest common substring of each sentence first begins."""
    windows, sentence_of, start_of = [], [], []
    for i, (tokens, length) in enumerate(zip(sentences, longest.tolist(), strict=True)):
        for start in range(len(tokens) - length + 1 if length else 0):
            windows.append(tokens[start : start + length])
            sentence_of.append(i)
            start_of.append(start)
    encoded = encode_sentences(windows, vocabulary.ids)
    in_train = longest_common_substring(encoded, train) == encoded.lengths
    starts = [0] * len(sentences)
    for window in np.flatnonzero(in_train).tolist()[::-1]:  # backwards, so that the first one is kept
        starts[sentence_of[window]] = start_of[window]
    return starts


def _span(line: str, tokens: Sequence[str], start: int, stop: int) -> tuple[int, int]:
    spans: list[tuple[int, int]] = []
    end = 0
    for token in tokens[:stop]:
        text = '"' if token in TREEBANK_QUOTES and token not in line[end:] else token
        begin = line.find(text, end)
        if begin < 0:
            return (0, 0)
        end = begin + len(text)
        spans.append((begin, end))
    return (spans[start][0], end) if stop > start else (0, 0)


def top_ngrams(
    lines: Sequence[str], tokenise: Tokenise, n: int, *, top: int = 15, separator: str = " "
) -> list[tuple[str, float]]:
    """The most frequent n-grams and their relative frequencies, ties in alphabetical order."""
    counts: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        tokens = tokenise(line)
        counts.update(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:top]
    return [(separator.join(gram), count / total) for gram, count in ranked]


def histogram(lengths: Sequence[int], longest: int, *, bins: int = 40) -> list[tuple[float, float]]:
    """The outline of a histogram of lengths up to `longest`: corners (tokens, percentage of the sentences).

    The width of the bins is the smallest number of tokens that gives at most `bins` bins.
    """
    width = max(1, -(-(longest + 1) // bins))
    counts = np.bincount(np.asarray(lengths) // width, minlength=longest // width + 1)
    percentages = (100 * counts / len(lengths)).tolist()
    return list(_corners(percentages, width))


def _corners(heights: Sequence[float], width: int) -> Iterator[tuple[float, float]]:
    yield -0.5, 0.0
    previous = 0.0
    for i, height in enumerate([*heights, 0.0]):
        if height != previous:
            yield i * width - 0.5, height
        previous = height
