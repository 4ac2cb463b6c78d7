"""The built-in corpora: an independent parser, and what each of them promises."""

import math
import random
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from seqgen import corpora
from seqgen.core.errors import UserError
from seqgen.corpora.grammar import Grammar, parse_grammar

BUILT_IN = ["couplets", "expressions", "scenes"]
SAMPLES = 20_000


@cache
def load(name: str) -> Grammar:
    return corpora.load(name)


@cache
def samples(name: str, n: int = SAMPLES, seed: int = 7) -> tuple[str, ...]:
    return tuple(load(name).sample(n, seed))


def derivations(grammar: Grammar, tokens: list[str]) -> float:
    """The probability of tokens by top-down parsing of the rules themselves, without the automaton."""

    @cache
    def ends(symbol: str, start: int) -> dict[int, float]:
        if symbol == "a(n)":
            word = tokens[start + 1][0] if start + 1 < len(tokens) else "?"
            fits = start < len(tokens) and tokens[start] == ("an" if word in "aeiou" else "a")
            return {start + 1: 1.0} if fits else {}
        if symbol not in grammar.rules:
            return {start + 1: 1.0} if tokens[start : start + 1] == [symbol] else {}
        found: Counter[int] = Counter()
        for p, alternative in grammar.rules[symbol]:
            places = {start: p}
            for part in alternative:
                after: Counter[int] = Counter()
                for place, weight in places.items():
                    for end, q in ends(part, place).items():
                        after[end] += weight * q
                places = after
            found.update(places)
        return found

    return ends(next(iter(grammar.rules)), 0).get(len(tokens), 0.0)


def left_side(grammar: Grammar, sentence: str) -> list[str]:
    tokens = grammar.tokens(sentence)
    return tokens[: tokens.index("=") + 1] if grammar.answer else tokens


# What the built-in corpora promise


def test_names_and_the_nearest_name():
    assert corpora.names() == BUILT_IN
    with pytest.raises(UserError, match="no built-in corpus 'scene'; did you mean 'scenes'"):
        corpora.load("scene")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_seed_gives_the_same_sentences_the_first_ones_whatever_the_number(name: str):
    grammar = load(name)
    assert grammar.sample(20, 5) == grammar.sample(300, 5)[:20]
    assert grammar.sample(20, 5) != grammar.sample(20, 6)
    assert grammar.sample(0, 5) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("couplets", "钓叟醉卧荷叶洲，书生缓歌松阴台。"),
        ("expressions", "(7+2)*(3+6)-3*(2-9)=102"),
        (
            "scenes",
            "five clean white plates of eggs and peppers sit on a round table beside a glass of wine.",
        ),
    ],
)
def test_seed_0_begins_with_this_sentence_everywhere(name: str, sentence: str):
    assert load(name).sample(1, 0) == [sentence]


def test_samples_depend_on_the_documented_generator_only():
    """One number of Mersenne twister a token, in order: the same on every machine and Python."""
    grammar = load("couplets")
    rng = random.Random(11)
    assert grammar.sample(3, 11) == ["".join(grammar.automaton.sample(rng)) for _ in range(3)]
    used, check = random.Random(2), random.Random(2)
    tokens = parse_grammar("g", "S -> x Y z\nY -> y | w").automaton.sample(used)
    for _ in [*tokens, "the end"]:
        check.random()
    assert used.random() == check.random()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_sample_is_valid(name: str):
    assert all(load(name).valid(sentence) for sentence in samples(name)[:3_000])


@pytest.mark.parametrize("name", BUILT_IN)
def test_log_prob_equals_a_parser_that_shares_no_code(name: str):
    grammar = load(name)
    for sentence in samples(name)[:150]:
        expected = derivations(grammar, left_side(grammar, sentence))
        assert grammar.log_prob(sentence) == pytest.approx(math.log(expected), rel=1e-9)
        shuffled = grammar.tokens(sentence)
        random.Random(0).shuffle(shuffled)
        if grammar.answer is None and not derivations(grammar, shuffled):
            assert not grammar.valid(" ".join(shuffled))


@pytest.mark.parametrize("name", BUILT_IN)
def test_entropy_equals_the_mean_of_minus_log_prob(name: str):
    grammar = load(name)
    surprise = -np.array(grammar.log_probs(samples(name)))
    assert abs(surprise.mean() - grammar.entropy()) < 4 * surprise.std() / math.sqrt(SAMPLES)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_sentence_has_two_derivations(name: str):
    assert load(name).automaton.ambiguous() is None


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_card_says_what_the_code_says(name: str):
    automaton = load(name).automaton
    shortest, mean, longest = automaton.lengths()
    values = [
        cells[1] for row in re.findall(r"\| (.*) \|", corpora.card(name)) if (cells := row.split(" | "))
    ]
    assert values == [
        "value",
        str(len(automaton.tokens())),
        str(shortest),
        f"{mean:.4f}",
        str(longest),
        f"{automaton.count():,}",
        f"{automaton.entropy():.4f}",
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_examples_of_the_card_are_valid(name: str):
    examples = [line.strip() for line in corpora.card(name).splitlines() if line.startswith("    ")]
    assert len(examples) == 3
    assert all(load(name).valid(example) for example in examples)


@pytest.mark.parametrize("name", BUILT_IN)
def test_odd_input_is_invalid_and_nothing_worse(name: str):
    odd = (
        "",
        " ",
        "\n",
        ".",
        "=",
        "==",
        "1=",
        "=1",
        "a",
        "\u0000",
        "é" * 50,
        "a " * 5_000,
        "(" * 5_000,
        "1+" * 5_000,
    )
    assert load(name).log_probs(odd) == [-math.inf] * len(odd)


def test_scenes_are_varied_and_of_the_promised_length():
    grammar, found = load("scenes"), samples("scenes")[:10_000]
    lengths = [len(grammar.tokens(sentence)) for sentence in found]
    shortest, _, longest = grammar.automaton.lengths()
    assert 5 <= shortest <= min(lengths) <= max(lengths) <= longest <= 20
    assert min(len(sentence.split()) for sentence in found) >= 5
    assert len({token for sentence in found for token in grammar.tokens(sentence)}) >= 400
    assert len(set(found)) / len(found) > 0.98
    assert grammar.entropy() > 20


def test_the_summary_of_scenes_says_what_the_code_says():
    automaton = load("scenes").automaton
    shortest, _, longest = automaton.lengths()
    expected = f"{len(automaton.tokens())} words and marks, {shortest} to {longest} tokens"
    assert expected in corpora.summary("scenes")


def test_scenes_read_well():
    words = {word for word in load("scenes").automaton.tokens() if word not in (".", ",")}
    assert all(re.fullmatch(r"[a-z]+", word) for word in words)
    # read with the other article than their first letter says
    assert not words & {"hour", "honest", "unicorn", "uniform", "university", "one", "used", "european"}
    for sentence in samples("scenes"):
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.", sentence)
        assert not re.search(r"\b(\w+) \1\b", sentence)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", sentence)
        assert not re.search(
            r"\b(two|three|four|five|several|many) (\w+ )?(dog|man|woman|car|cow) ", sentence
        )


@pytest.mark.parametrize(
    ("sentence", "right", "wrong"),
    [
        ("a black dog near two chairs {} sleeping on an old red couch.", "is", "are"),
        ("two black dogs near the window {} sleeping on an old red couch.", "are", "is"),
        ("a young man is riding {} down a busy street at night.", "a red bicycle", "red bicycles"),
        ("two tall men are riding {} down a busy street at night.", "red bicycles", "a red bicycle"),
        ("an old red bus is driving down a busy {} at night.", "road", "pond"),
        ("a large elephant is {} on a dry plain at night.", "standing", "typing"),
        ("the tulips in the red vase {} pink and white.", "are", "is"),
        ("{} elephant is standing on a dry plain at night.", "a large", "an large"),
    ],
)
def test_scenes_agree_in_number_and_sense(sentence: str, right: str, wrong: str):
    assert load("scenes").valid(sentence.format(right))
    assert not load("scenes").valid(sentence.format(wrong))


def test_couplets_have_their_form():
    for sentence in samples("couplets"):
        assert re.fullmatch(r"(\w{5}，\w{5}|\w{7}，\w{7})。", sentence)
        first, second = sentence.rstrip("。").split("，")
        assert len(set(first) | set(second)) == len(first) + len(second), (
            f"a character comes twice in {sentence}"
        )


def test_the_lines_of_a_couplet_have_no_character_in_common():
    rules = load("couplets").rules

    def characters(symbol: str) -> set[str]:
        if symbol not in rules:
            return {symbol}
        return {each for _, symbols in rules[symbol] for part in symbols for each in characters(part)}

    patterns = [symbols for _, symbols in rules["Couplet"]]
    assert [symbols[1::2] for symbols in patterns] == [("，", "。")] * 11
    for first, _, second, _ in patterns:
        assert not characters(first) & characters(second)
        lines = [[len(parts) for _, parts in rules[line]] for line in (first, second)]
        assert len({*lines[0], *lines[1]}) == 1  # the same word classes in the same order
    assert len(load("couplets").automaton.tokens()) >= 300


def test_expressions_are_true():
    for sentence in samples("expressions"):
        left, right = sentence.split("=")
        assert re.fullmatch(r"[0-9+*()-]+", left)
        assert not re.search(r"(?<!\d)0\d", left)
        assert eval(left) == int(right)


@pytest.mark.parametrize(
    "wrong", ["1+1=3", "1+1=", "1+1", "1+1=02", "1+1=+2", "1+1=2=2", "1+1==2", "1+1=2.0", "1+01=2"]
)
def test_a_wrong_value_is_invalid(wrong: str):
    assert load("expressions").valid("1+1=2")
    assert not load("expressions").valid(wrong)


def test_the_probability_of_an_expression_is_that_of_its_left_side():
    # Sum: 3/8 for two terms; twice Number 5/9 · one digit 2/7 · 1/9.5; sign 1/2; the value follows
    expected = 3 / 8 * (5 / 9 * 2 / 7 / 9.5) ** 2 / 2
    assert load("expressions").log_prob("1+1=2") == pytest.approx(math.log(expected), rel=1e-12)


def test_values_are_bounded_by_construction():
    rules = load("expressions").rules

    def bounds(symbol: str) -> tuple[int, int]:
        found = [combine(symbols) for _, symbols in rules[symbol]]
        return min(low for low, _ in found), max(high for _, high in found)

    def combine(symbols: tuple[str, ...]) -> tuple[int, int]:
        if symbols == ("Ten", "Digit"):
            return 10, 99
        first, *rest = [symbol for symbol in symbols if symbol not in "()="]
        low, high = bounds(first) if first in rules else (int(first), int(first))
        for operator, name in zip(rest[::2], rest[1::2], strict=True):
            a, b = bounds(name)
            if operator == "*":
                corners = [x * y for x in (low, high) for y in (a, b)]
                low, high = min(corners), max(corners)
            else:  # Sign: + or -
                low, high = low + min(a, -b), high + max(b, -a)
        return low, high

    assert bounds("Equation") == (-810, 972)
