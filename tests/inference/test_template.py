"""A text with blanks as token ids, with every kind of tokenizer."""

import pytest

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import UNK
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.inference.template import encode

LINES = ["a man sat on a mat.", "two men sit on a bed ."]


def tokenizer(kind, lines=LINES):
    return train_tokenizer(lines, kind, min_count=1)


def test_words_keep_their_places_and_spaces():
    words = tokenizer("word")
    a, man, on, stop = (words.encode(text)[-1] for text in ("a", "man", "on", "a."))
    assert encode(words, "a man _ on a _.") == [a, man, UNK, on, a, UNK, stop]
    assert encode(words, "_ _ a _ .") == [UNK, UNK, a, UNK, words.encode(".")[0]]
    assert stop != words.encode(".")[0]


def test_characters():
    characters = tokenizer("character", ["abc", "cab"])
    a, b = (characters.encode(letter)[0] for letter in "ab")
    assert encode(characters, "a_b_") == [a, UNK, b, UNK]


@pytest.mark.parametrize("kind", ["bpe", "byte"])
def test_of_subwords_a_blank_is_a_word(kind):
    subwords = tokenizer(kind)
    assert encode(subwords, "a _ sat") == [*subwords.encode("a"), UNK, *subwords.encode("sat")]


def test_a_corpus_with_underscores():
    words = tokenizer("word", ["a _ b", "b _a"])
    a, b = (words.encode(letter)[0] for letter in "ab")
    assert encode(words, "a _ b") == [a, UNK, b]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("word", "a man sat", "has no blank to fill; write _ for each token"),
        ("word", "", "has no blank to fill"),
        ("word", "a zebra _", "the model has never seen 'zebra'; write _ instead, or another word"),
        ("byte", "a _.", "has a _ that touches a word; put a space on each side of it"),
    ],
)
def test_what_cannot_be_filled(kind, text, message):
    with pytest.raises(UserError, match=message):
        encode(tokenizer(kind), text)
