"""Weighted context-free grammars in a text file, and the distribution over sentences that each defines.

The notation, one rule a paragraph (`NAME.cfg`)::

    %join words                       # or: characters
    Scene  -> Animal is Doing .       # the first rule is the start
    Animal -> a(n) Size Beast [3]     # [3]: three times as likely as an alternative without a number
            | two dogs                # a rule goes on until the next one begins
    Size   -> small | old | ''        # '' writes nothing

A symbol that begins with a capital letter A to Z is a nonterminal; everything else is written as it stands.
`a(n)` becomes `a` or `an`, as the next word asks. With `%join words` tokens are separated by spaces, but for
the marks . , ; : ! ? which attach to the word before; with `%join characters` there are no spaces and every
character is a token of its own. `%answer arithmetic` appends the value of what the rules wrote, which then
ends in `=`. Recursion is not allowed, so every length is bounded.
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from seqgen.corpora.arithmetic import value
from seqgen.corpora.automaton import Automaton, Rules, build_automaton

MARKS = ".,;:!?"


@dataclass(frozen=True)
class Grammar:
    """A distribution over sentences: drawn from, and asked for exact probabilities.

    A sentence is its sequence of tokens; spaces only separate tokens, so more or fewer of them make no
    difference, and everything else does (an unknown word or a capital letter has no derivation).
    """

    name: str
    rules: Rules
    """The first one is the start."""
    characters: bool = False
    """Tokens are characters rather than words and marks."""
    answer: Callable[[str], str] | None = None
    """Writes what follows the text of the rules."""

    @cached_property
    def automaton(self) -> Automaton:
        return build_automaton(self.rules, next(iter(self.rules)))

    def sample(self, n: int, seed: int) -> list[str]:
        """Draw n sentences. The same seed gives the same ones on every machine and version of Python, the
        first of them whatever n is: the only randomness is `random.Random(seed).random()` (Mersenne twister).
        """
        rng = random.Random(int(seed))
        return [self._write(self.automaton.draw(rng)) for _ in range(n)]

    def log_prob(self, sentence: str) -> float:
        """Compute the exact log-probability of a sentence in nats, over all derivations; -inf without one."""
        tokens = self.tokens(sentence)
        if self.answer is None:
            return self.automaton.log_prob(tokens)
        end = tokens.index("=") + 1 if "=" in tokens else len(tokens)
        log_prob = self.automaton.log_prob(tokens[:end])
        if log_prob == -math.inf or "".join(tokens[end:]) != self.answer("".join(tokens[:end])):
            return -math.inf
        return log_prob

    def log_probs(self, sentences: Iterable[str]) -> list[float]:
        """Compute `log_prob` of each sentence."""
        return [self.log_prob(sentence) for sentence in sentences]

    def valid(self, sentence: str) -> bool:
        """Say whether the grammar derives the sentence (and, with an answer, whether that is right)."""
        return self.log_prob(sentence) > -math.inf

    def entropy(self) -> float:
        """Compute the exact entropy of the sentences, in nats a sentence; ValueError if it is ambiguous."""
        return self.automaton.entropy()

    def tokens(self, sentence: str) -> list[str]:
        """Split a sentence as `log_prob` reads it: characters, or words and marks; spaces dropped."""
        if self.characters:
            return list("".join(sentence.split()))
        return re.findall(f"[{MARKS}]|[^{MARKS}\\s]+", sentence)

    def _write(self, tokens: Sequence[str]) -> str:
        text = "".join(tokens) if self.characters else re.sub(f" ([{MARKS}])", r"\1", " ".join(tokens))
        return text + self.answer(text) if self.answer else text


def parse_grammar(name: str, text: str) -> Grammar:
    """Read a grammar in the notation above; ValueError names the rule that is wrong."""
    options: dict[str, str] = {}
    paragraphs: dict[str, str] = {}
    rule = ""
    for line in re.sub(r"(?m)(^|\s)#.*$", "", text).splitlines():
        head = re.match(r"([A-Z]\w*)\s+->\s+(.*)", line)
        if option := re.match(r"%(\w+)\s+(\w+)\s*$", line):
            options[option[1]] = option[2]
        elif head:
            rule = head[1]
            if rule in paragraphs:
                raise ValueError(f"{name}: two rules for {rule}")
            paragraphs[rule] = head[2]
        elif line.strip():
            if not rule:
                raise ValueError(f"{name}: expected 'Name -> ...', found {line!r}")
            paragraphs[rule] += " " + line
    characters = options.pop("join", "words") == "characters"
    answers = {"arithmetic": value}
    answer = answers[options.pop("answer")] if "answer" in options else None
    if options:
        raise ValueError(f"{name}: unknown option %{next(iter(options))}")
    rules = {rule: _alternatives(f"{name}: {rule}", body, characters) for rule, body in paragraphs.items()}
    _check(name, rules)
    return Grammar(name, rules, characters, answer)


def _alternatives(where: str, body: str, characters: bool) -> list[tuple[float, tuple[str, ...]]]:
    """Read `a B [2] | c` into probabilities and symbols."""
    weights, sequences = [], []
    for part in re.split(r"(?:^|\s)\|(?=\s|$)", body):
        written = re.fullmatch(r"\s*(.*?)\s*(?:\[([\d.]+)\])?\s*", part)
        if not written or not written[1]:
            raise ValueError(f"{where}: an empty alternative is written ''")
        weights.append(float(written[2] or 1))
        symbols: list[str] = []
        for symbol in written[1].split():
            if symbol != "''":
                symbols += list(symbol) if characters and not _is_name(symbol) else [symbol]
        sequences.append(tuple(symbols))
    if not weights or min(weights) <= 0:
        raise ValueError(f"{where}: no alternative, or a weight that is not positive")
    return [
        (weight / math.fsum(weights), sequence) for weight, sequence in zip(weights, sequences, strict=True)
    ]


def _is_name(symbol: str) -> bool:
    return "A" <= symbol[0] <= "Z"


def _check(name: str, rules: Rules) -> None:
    """Raise ValueError for a nonterminal without a rule, a rule that nothing uses, or recursion."""
    if not rules:
        raise ValueError(f"{name}: no rule")
    done: set[str] = set()

    def visit(rule: str, above: tuple[str, ...]) -> None:
        if rule in above:
            raise ValueError(f"{name}: {rule} contains itself")
        if rule not in rules:
            raise ValueError(f"{name}: no rule for {rule}, used by {above[-1]}")
        if rule not in done:
            for _, symbols in rules[rule]:
                for symbol in filter(_is_name, symbols):
                    visit(symbol, (*above, rule))
            done.add(rule)

    visit(next(iter(rules)), ())
    if unused := [rule for rule in rules if rule not in done]:
        raise ValueError(f"{name}: nothing uses {', '.join(unused)}")
