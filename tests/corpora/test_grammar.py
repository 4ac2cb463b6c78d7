"""The notation of grammars and their automaton, by hand."""

import math
import re
from collections import Counter

import numpy as np
import pytest

from seqgen.core.errors import UserError
from seqgen.corpora.automaton import Automaton
from seqgen.corpora.grammar import parse_grammar

SAMPLES = 20_000
TINY = """
# two animals
%join words
Scene  -> a(n) Animal sleeps . [3]   # three in four
        | two owls sleep .
Animal -> Size Beast
Size   -> old | '' [4]
Beast  -> owl | cat [2]
"""


def enumerate_paths(automaton: Automaton) -> list[tuple[tuple[str, ...], float]]:
    """Every path of an automaton with its probability."""

    def walk(state: int) -> list[tuple[tuple[str, ...], float]]:
        found = [((), automaton.stops[state])] if automaton.stops[state] else []
        for token, targets in automaton.arcs[state].items():
            for target, p in targets:
                found += [((token, *tail), p * q) for tail, q in walk(target)]
        return found

    return walk(len(automaton.arcs) - 1)


def test_probabilities_by_hand():
    grammar = parse_grammar("tiny", TINY)
    # 3/4 · P(no size) 4/5 · P(cat) 2/3; the article costs nothing
    assert grammar.log_prob("a cat sleeps.") == pytest.approx(math.log(3 / 4 * 4 / 5 * 2 / 3), rel=1e-12)
    assert grammar.log_prob("an owl sleeps.") == pytest.approx(math.log(3 / 4 * 4 / 5 * 1 / 3), rel=1e-12)
    assert grammar.log_prob("an old cat sleeps.") == pytest.approx(math.log(3 / 4 * 1 / 5 * 2 / 3), rel=1e-12)
    assert grammar.log_prob("two owls sleep.") == pytest.approx(math.log(1 / 4), rel=1e-12)
    for wrong in (
        "a owl sleeps.",
        "an cat sleeps.",
        "a old cat sleeps.",
        "two owls sleeps.",
        "a cat sleeps",
        "",
    ):
        assert grammar.log_prob(wrong) == -math.inf


def test_a_small_language_sums_to_one_and_has_the_entropy_of_its_sentences():
    grammar = parse_grammar("tiny", TINY)
    sentences = {" ".join(tokens) for tokens, _ in enumerate_paths(grammar.automaton)}
    probs = np.exp([grammar.log_prob(sentence) for sentence in sorted(sentences)])
    assert len(sentences) == grammar.automaton.count() == 5
    assert probs.sum() == pytest.approx(1.0, rel=1e-12)
    assert grammar.entropy() == pytest.approx(float(-(probs * np.log(probs)).sum()), rel=1e-12)
    shortest, mean, longest = grammar.automaton.lengths()
    # four tokens, and one more with `old`: 3/4 · 1/5
    assert (shortest, longest) == (4, 5)
    assert mean == pytest.approx(4 + 3 / 4 * 1 / 5, rel=1e-12)


def test_the_entropy_of_a_fair_choice_is_its_logarithm():
    assert parse_grammar("g", "S -> a | b | c").entropy() == pytest.approx(math.log(3), rel=1e-12)
    assert parse_grammar("g", "S -> x").entropy() == 0.0


def test_a_word_that_begins_like_the_article_is_a_word():
    grammar = parse_grammar("articles", "%join words\nS -> a(n) cat | two a(n)dogs\n")
    assert set(grammar.sample(50, seed=1)) == {"a cat", "two a(n)dogs"}


def test_a_sentence_may_end_where_another_goes_on():
    grammar = parse_grammar("g", "S -> x Tail\nTail -> y | ''")
    assert grammar.log_prob("x") == grammar.log_prob("x y") == pytest.approx(math.log(1 / 2), rel=1e-12)
    assert grammar.automaton.lengths() == (1, 1.5, 2)
    assert sorted(set(grammar.sample(50, 0))) == ["x", "x y"]


def test_ambiguity_is_summed_in_probabilities_and_refused_in_entropies():
    grammar = parse_grammar("g", "S -> x y [2] | X Y | z\nX -> x\nY -> y | w")
    # 2/4 directly, and 1/4 · 1/2 through X Y
    assert grammar.log_prob("x y") == pytest.approx(math.log(2 / 4 + 1 / 4 * 1 / 2), rel=1e-12)
    with pytest.raises(ValueError, match=r"derives \['x', 'y'\] in two ways"):
        grammar.entropy()


def test_two_ways_to_stop_are_an_ambiguity():
    grammar = parse_grammar("g", "S -> x A | x B\nA -> y | ''\nB -> z | ''")
    assert grammar.log_prob("x") == pytest.approx(math.log(1 / 2), rel=1e-12)
    assert grammar.automaton.ambiguous() == ["x"]


def test_two_derivations_that_meet_at_once_are_one_path():
    grammar = parse_grammar("g", "S -> A | x\nA -> x | y [3]")
    # x: 1/2 + 1/2 · 1/4 = 5/8
    assert grammar.log_prob("x") == pytest.approx(math.log(5 / 8), rel=1e-12)
    assert grammar.entropy() == pytest.approx(-(5 / 8 * math.log(5 / 8) + 3 / 8 * math.log(3 / 8)), rel=1e-12)


def test_weights_are_relative_and_comments_and_empty_lines_are_ignored():
    one = parse_grammar("g", "S -> x [6] | y [2]\n\n# nothing\n  | z  # the end [9]")
    assert [p for p, _ in one.rules["S"]] == pytest.approx([6 / 9, 2 / 9, 1 / 9], rel=1e-12)


def test_marks_attach_and_spacing_does_not_count():
    grammar = parse_grammar("g", "S -> well , yes !")
    assert grammar.sample(1, 0) == ["well, yes!"]
    for same in ("well, yes!", " well ,  yes ! ", "well,yes!", "well\t, yes\n!"):
        assert grammar.valid(same)
    for other in ("wel l, yes!", "well yes!", "well, yes", "Well, yes!", "well, yes!!"):
        assert not grammar.valid(other)


def test_words_that_begin_or_end_in_an_apostrophe_or_a_hyphen_are_one_token():
    assert parse_grammar("g", "S -> t-shirt dogs' .").tokens("t-shirt dogs'.") == ["t-shirt", "dogs'", "."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rule"),
        ("S -> A", "no rule for A, used by S"),
        ("S -> x\nB -> y", "nothing uses B"),
        ("S -> x S | y", "S contains itself"),
        ("S -> A\nA -> B\nB -> x A", "A contains itself"),
        ("S -> x\nS -> y", "two rules for S"),
        ("S -> x | | y", "an empty alternative is written ''"),
        ("S -> x [0]", "not positive"),
        ("x y z", "expected 'Name -> ...'"),
        ("%colour red\nS -> x", "unknown option %colour"),
    ],
)
def test_a_wrong_grammar_says_what_is_wrong(text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_grammar("g", text)


def test_samples_follow_the_probabilities():
    grammar = parse_grammar("tiny", TINY)
    found = Counter(grammar.sample(SAMPLES, 3))
    expected = {sentence: SAMPLES * math.exp(grammar.log_prob(sentence)) for sentence in found}
    assert len(found) == 5
    chi_square = sum((found[sentence] - mean) ** 2 / mean for sentence, mean in expected.items())
    assert chi_square < 18.5  # the 0.999 quantile with 4 degrees of freedom


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S -> x [1.2.3] | y", r"weight \[1.2.3\] is not positive"),
        (f"S -> x [{'9' * 400}] | y", "is not positive, or above 1e.12"),
        ("%answer sums\nS -> x", "unknown option %answer"),
        (
            "".join(f"R{n} -> R{n + 1}\n" for n in range(5000)) + "R5000 -> x",
            "more than 64 rules within one another",
        ),
    ],
)
def test_a_grammar_of_another_hand_says_what_is_wrong(text, message):
    with pytest.raises(UserError, match=message):
        parse_grammar("g", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"S -> {'x ' * 1500}", "a sentence of it has too many tokens"),
        (f"S -> {'x ' * 50_000}", "too many ways to go on, or too long ones"),
        (
            "".join(f"R{n} -> R{n + 1} | R{n + 1}\n" for n in range(40)) + "R40 -> x",
            "too many ways to go on",
        ),
        ("%answer arithmetic\nS -> x + =", r"'x \+ =' is no arithmetic"),
        ("%answer arithmetic\n%join characters\nS -> " + "(" * 400 + " =", "is no arithmetic"),
    ],
)
def test_a_grammar_that_is_too_large_or_makes_no_sense_says_so(text, message):
    with pytest.raises(UserError, match=message):
        parse_grammar("g", text).sample(1, seed=0)
