"""Tokenisations by name, each against its source, and the automatic choice."""

import random

import pytest
from nltk.tokenize import TreebankWordTokenizer
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from seqgen.core.errors import UserError
from seqgen.metrics.tokenization import TOKENISATIONS, is_unspaced, tokeniser


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whitespace", ["Don't", "go,", "3.5", "km."]),
        ("treebank", ["Do", "n't", "go", ",", "3.5", "km", "."]),
        ("13a", ["Don't", "go", ",", "3.5", "km", "."]),
        ("character", list("Don'tgo,3.5km.")),
    ],
)
def test_every_tokenisation(name: str, expected: list[str]) -> None:
    assert tokeniser(name)(" Don't  go, 3.5 km.") == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_short_cut_for_plain_lines_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [
        "a",
        "B",
        "cannot",
        "Gonna",
        "wanna",
        "gimmes",
        "lemme",
        "gotta",
        ",",
        ",",
        ".",
        " ",
        " ",
        "1",
        "'",
        "-",
    ]
    theirs = {"treebank": TreebankWordTokenizer().tokenize, "13a": lambda line: Tokenizer13a()(line).split()}
    for _ in range(3000):
        plain = rng.random() < 0.8
        line = "".join(rng.choices(pieces[:-3] if plain else pieces, k=rng.randint(0, 9))).strip()
        for name, reference in theirs.items():
            assert tokeniser(name)(line) == reference(line), line


@pytest.mark.parametrize("name", TOKENISATIONS)
def test_a_blank_line_has_no_token(name: str) -> None:
    assert tokeniser(name)("") == []
    assert tokeniser(name)(" \t ") == []


def test_13a_is_what_sacrebleu_does() -> None:
    line = 'He said: "A&quot;B" costs 1,000.5-2 (or so)... re-\n'
    assert tokeniser("13a")(line) == BLEU()._preprocess_segment(line).split()


def test_characters_beyond_the_basic_plane_stay_whole() -> None:
    assert tokeniser("character")("我 𠮷😀") == ["我", "𠮷", "😀"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no tokenisation 'treebnk'; did you mean 'treebank'"):
        tokeniser("treebnk")
    with pytest.raises(UserError, match="allowed: whitespace, treebank, character, 13a, auto"):
        tokeniser("xyz")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a man on a horse", "two dogs"], False),
        (["秦川雄帝宅，函谷壮皇居。"], True),
        (["秦 川 雄 帝 宅 ， 函 谷 壮 皇 居 。"], True),
        (["a man said 你好 to the dog"], False),
    ],
)
def test_scripts_without_spaces(lines: list[str], expected: bool) -> None:
    assert is_unspaced(lines) is expected
