"""What a report shows of sentences: copies and runs shared with training text, n-grams, lengths."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seqgen.evaluation.references import TRAIN, Coder, real_sample
from seqgen.metrics.copying import longest_shared
from seqgen.metrics.diversity import copied
from seqgen.metrics.tokenization import Tokenise
from seqgen.ngrams.ngrams import Coded, Ints, code_sentences
from seqgen.report.html import Html, element, join

TREEBANK_QUOTES = ("``", "''")
"""What the treebank tokenisation writes for a double quotation mark."""


@dataclass(frozen=True)
class Marked:
    """A sentence, whether it stands in the training set, and the longest run it shares with a line of it."""

    text: str
    copy: bool
    longest: int
    """tokens of that run"""
    span: tuple[int, int]
    """where in `text` the run is, as characters; (0, 0) where it cannot be told"""


def mark(lines: Sequence[str], train: Sequence[str], coder: Coder, *, seed: int = 0) -> list[Marked]:
    """Find what sentences have of the training set.

    Exact copies (`seqgen.metrics.diversity.copied`) are looked for in all of it, runs in at most 100,000 of
    its sentences, drawn by the seed.
    """
    learned, coded = coder(real_sample(train, TRAIN, seed)), coder(lines)
    longest = longest_shared(coded, learned)
    starts = _starts([coder.tokenise(line) for line in lines], longest, learned, coder)
    return [
        Marked(line, copy, int(length), _span(line, coder.tokenise(line), start, start + int(length)))
        for line, copy, length, start in zip(lines, copied(lines, train), longest, starts, strict=True)
    ]


def _starts(sentences: Sequence[list[str]], longest: Ints, learned: Coded, coder: Coder) -> list[int]:
    """Say at which token the longest shared run of each sentence first begins."""
    windows, owner, at = [], [], []
    for i, (tokens, length) in enumerate(zip(sentences, longest.tolist(), strict=True)):
        for start in range(len(tokens) - length + 1 if length else 0):
            windows.append(tokens[start : start + length])
            owner.append(i)
            at.append(start)
    coded = code_sentences(windows, coder.vocabulary)
    whole = longest_shared(coded, learned) == coded.lengths
    starts = [0] * len(sentences)
    for window in np.flatnonzero(whole).tolist()[::-1]:  # backwards, so that the first is the one that stays
        starts[owner[window]] = at[window]
    return starts


def _span(line: str, tokens: Sequence[str], start: int, stop: int) -> tuple[int, int]:
    places: list[tuple[int, int]] = []
    end = 0
    for token in tokens[:stop]:
        written = '"' if token in TREEBANK_QUOTES and token not in line[end:] else token
        begin = line.find(written, end)
        if begin < 0:
            return (0, 0)
        end = begin + len(written)
        places.append((begin, end))
    return (places[start][0], end) if stop > start else (0, 0)


def written(sentence: Marked) -> Html:
    """Write a sentence: a copy marked as one, of any other the shared run underlined."""
    text = sentence.text or "(blank)"
    if sentence.copy:
        return join(element("mark", text), element("span", "copy", class_="badge"))
    start, stop = sentence.span
    hint = f"{sentence.longest} tokens in a row stand in a training sentence"
    shared = element("span", text[start:stop], class_="shared", title=hint) if stop else ""
    return join(text[:start], shared, text[stop:])


def top_grams(
    lines: Sequence[str], tokenise: Tokenise, n: int, *, top: int = 15, between: str = " "
) -> list[tuple[str, float]]:
    """The most frequent n-grams and their shares of all n-grams, equal ones in the order of their text."""
    counts: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        tokens = tokenise(line)
        counts.update(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:top]
    return [(between.join(gram), count / total) for gram, count in ranked]


def histogram(lengths: Sequence[int], longest: int, *, bins: int = 40) -> list[tuple[float, float]]:
    """The outline of a histogram of lengths up to `longest`: corners (tokens, per cent of the sentences).

    A bin is as many whole tokens wide as makes at most `bins` of them.
    """
    wide = max(1, -(-(longest + 1) // bins))
    counts = np.bincount(np.asarray(lengths) // wide, minlength=longest // wide + 1)
    shares = (100 * counts / len(lengths)).tolist()
    return list(_corners(shares, wide))


def _corners(shares: Sequence[float], wide: int) -> Iterator[tuple[float, float]]:
    yield -0.5, 0.0
    before = 0.0
    for i, share in enumerate([*shares, 0.0]):
        if share != before:
            yield i * wide - 0.5, share
        before = share
