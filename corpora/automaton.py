"""Weighted grammars without recursion as acyclic automata: samples, exact probabilities, exact entropy.

A state is the tuple of the symbols that are still to be expanded; expanding its leftmost symbol gives the
next tokens. Equal tuples are one state, so a grammar of a hundred rules has only some thousand states. The
paths of the automaton are the leftmost derivations of the grammar, except that two derivations which generate
the same token and leave the same symbols are one path with the sum of their probabilities.
"""

import math
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, combinations, product

from seqgen.core.errors import UserError

Rules = dict[str, list[tuple[float, tuple[str, ...]]]]
"""The alternatives of each nonterminal: probability, symbols. A symbol that is no key is a terminal."""

MOST_SYMBOLS, ARC_SYMBOLS = 1 << 22, 16
"""Symbols of the states that all ways to go on lead to, at most; a way by itself counts as 16."""

MOST_TOKENS = 800
"""Tokens of a sentence at most: each is a call within the call of the one before it."""

ARTICLE = "a(n)"
"""The terminal that becomes `a` or `an`, depending on the next word."""


TOO_DEEP = "the grammar is recursive, or a sentence of it has too many tokens"


@dataclass(frozen=True)
class Automaton:
    """Arcs lead from higher to lower states; the last state is the start, and every path ends by stopping."""

    arcs: list[dict[str, list[tuple[int, float]]]]
    """arcs[state][token]: the target states of the token, each with its probability."""
    stops: list[float]
    """stops[state]: the probability that the sentence ends there. With those of the arcs it sums to 1."""

    @cached_property
    def _choices(self) -> list[tuple[list[float], list[tuple[str, int]]]]:
        """Cumulative probabilities and (token, target) of each state; target -1 ends the sentence."""
        choices = []
        for arcs, stop in zip(self.arcs, self.stops, strict=True):
            steps = [(token, target, p) for token, targets in arcs.items() for target, p in targets]
            steps += [("", -1, stop)] if stop else []
            cumulative = list(accumulate(p for _, _, p in steps))
            cumulative[-1] = 1.0  # in spite of rounding; a uniform number is below 1
            choices.append((cumulative, [(token, target) for token, target, _ in steps]))
        return choices

    def sample(self, rng: random.Random) -> list[str]:
        """Sample the tokens of a sentence, with one `rng.random()` a token and one for the end."""
        tokens: list[str] = []
        choices, uniform = self._choices, rng.random
        state = len(choices) - 1
        while state >= 0:
            cumulative, steps = choices[state]
            token, state = steps[bisect(cumulative, uniform())]
            tokens.append(token)
        tokens.pop()
        return tokens

    def log_prob(self, tokens: Sequence[str]) -> float:
        """Return the log of the total probability of the paths of the tokens, in nats; -inf without one."""
        weights = {len(self.arcs) - 1: 1.0}
        for token in tokens:
            after: dict[int, float] = {}
            for state, weight in weights.items():
                for target, p in self.arcs[state].get(token, ()):
                    after[target] = after.get(target, 0.0) + weight * p
            if not after:
                return -math.inf
            weights = after
        total = sum(weight * self.stops[state] for state, weight in weights.items())
        return math.log(total) if total > 0 else -math.inf

    def entropy(self) -> float:
        """Return the entropy of the sentences in nats, by H(s) = Σ p (H(target) - log p) over the arcs of s.

        That is the entropy of the paths, which equals that of the sentences if none has two paths. Raise
        ValueError with an ambiguous part of a sentence otherwise.
        """
        twice = self.ambiguous()
        if twice is not None:
            raise ValueError(
                f"the grammar derives {twice!r} in two ways: its entropy is not that of its paths"
            )
        entropies: list[float] = []
        for arcs, stop in zip(self.arcs, self.stops, strict=True):
            steps = [(p, entropies[target]) for targets in arcs.values() for target, p in targets]
            entropies.append(sum(p * (h - math.log(p)) for p, h in [*steps, (stop, 0.0)] if p))
        return entropies[-1]

    def lengths(self) -> tuple[int, float, int]:
        """Return the exact shortest, mean and longest length of a sentence in tokens."""
        shortest: list[float] = []
        mean: list[float] = []
        longest: list[float] = []
        for arcs, stop in zip(self.arcs, self.stops, strict=True):
            steps = [(target, p) for targets in arcs.values() for target, p in targets]
            shortest.append(min([0.0 if stop else math.inf, *(1 + shortest[t] for t, _ in steps)]))
            longest.append(max([0.0, *(1 + longest[t] for t, _ in steps)]))
            mean.append(sum(p * (1 + mean[t]) for t, p in steps))
        return int(shortest[-1]), mean[-1], int(longest[-1])

    def count(self) -> int:
        """Return the number of paths, which is that of distinct sentences if none has two paths."""
        counts: list[int] = []
        for arcs, stop in zip(self.arcs, self.stops, strict=True):
            counts.append((stop > 0) + sum(counts[t] for targets in arcs.values() for t, _ in targets))
        return counts[-1]

    def tokens(self) -> list[str]:
        """Return the vocabulary, sorted."""
        return sorted({token for arcs in self.arcs for token in arcs})

    def ambiguous(self) -> list[str] | None:
        """Return tokens that two paths of a sentence share between splitting and meeting; None: unambiguous.

        Two paths of a sentence split at some state in which one token leads to two targets, and generate the
        same tokens from there: it suffices to search a common completion of each pair of targets of a token.
        """
        known: dict[tuple[int, int], list[str] | None] = {}
        for arcs in self.arcs:
            for token, targets in arcs.items():
                for (left, _), (right, _) in combinations(targets, 2):
                    tail = self._shared(left, right, known)
                    if tail is not None:
                        return [token, *tail]
        return None

    def _shared(
        self, left: int, right: int, known: dict[tuple[int, int], list[str] | None]
    ) -> list[str] | None:
        """Return a completion of both states, up to the state where they meet; None: there is none."""
        if left == right or (self.stops[left] and self.stops[right]):
            return []
        key = (min(left, right), max(left, right))
        if key not in known:
            known[key] = None
            for token in [token for token in self.arcs[left] if token in self.arcs[right]]:
                for (a, _), (b, _) in product(self.arcs[left][token], self.arcs[right][token]):
                    tail = self._shared(a, b, known)
                    if tail is not None:
                        known[key] = [token, *tail]
        return known[key]


def build_automaton(rules: Rules, start: str) -> Automaton:
    """Build the automaton of a grammar; raise UserError if it is too large, or the grammar recursive."""
    numbers: dict[tuple[str, ...], int] = {}
    arcs: list[dict[str, list[tuple[int, float]]]] = []
    stops: list[float] = []
    left = MOST_SYMBOLS

    def visit(symbols: tuple[str, ...], depth: int = 0) -> int:
        if symbols in numbers:
            return numbers[symbols]
        if depth > MOST_TOKENS:  # not left to the interpreter's limit, which others may raise
            raise UserError(TOO_DEEP)
        merged: dict[tuple[str, tuple[str, ...]], float] = {}
        nonlocal left
        for p, token, rest in _heads(rules, symbols):
            left -= ARC_SYMBOLS + len(rest)
            if left < 0:
                raise UserError("the grammar has too many ways to go on, or too long ones; simplify it")
            merged[token, rest] = merged.get((token, rest), 0.0) + p
        stop = merged.pop(("", ()), 0.0)
        steps: dict[str, list[tuple[int, float]]] = {}
        for (token, rest), p in merged.items():
            steps.setdefault(token, []).append((visit(rest, depth + 1), p))
        numbers[symbols] = len(arcs)
        arcs.append(steps)
        stops.append(stop)
        return numbers[symbols]

    try:
        visit((start,))
    except RecursionError as error:
        raise UserError(TOO_DEEP) from error
    return Automaton(arcs, stops)


def _heads(rules: Rules, symbols: tuple[str, ...]) -> Iterator[tuple[float, str, tuple[str, ...]]]:
    """Yield each expansion to a first token: probability, token ("" ends the sentence), remaining symbols."""
    if not symbols:
        yield 1.0, "", ()
        return
    first, rest = symbols[0], symbols[1:]
    if first in rules:
        for p, alternative in rules[first]:
            for q, token, tail in _heads(rules, alternative + rest):
                yield p * q, token, tail
    elif first == ARTICLE:
        for article in ("a", "an"):
            p = sum(q for q, token, _ in _heads(rules, rest) if _takes(article, token))
            if p:
                yield p, article, (f"{ARTICLE} {article}", *rest)
    elif first.startswith(f"{ARTICLE} "):  # after an article only the words that take it remain
        fitting = [
            head for head in _heads(rules, rest) if _takes(first.removeprefix(ARTICLE).strip(), head[1])
        ]
        total = sum(p for p, _, _ in fitting)
        for p, token, tail in fitting:
            yield p / total, token, tail
    else:
        yield 1.0, first, rest


def _takes(article: str, word: str) -> bool:
    """Return True if the word takes this article, by its first letter: grammars must avoid `hour`, `unit`."""
    return (article == "an") == (word[:1] in set("aeiou"))
