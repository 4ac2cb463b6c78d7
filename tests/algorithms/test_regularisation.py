"""Default dropout and weight decay: by hand at the points of the rule."""

import math

import pytest

from seqgen.algorithms.regularisation import TextSize, decay_for, with_dropout
from seqgen.models.base import GeneratorConfig
from seqgen.models.rnn_generator import RNNConfig
from seqgen.models.transformer_generator import TransformerConfig

SMALL = RNNConfig(embedding=5, hidden=7)
WORDS = 11
PARAMETERS = 4 * 7 * (5 + 7) + 2 * 4 * 7 + WORDS * 5 + WORDS * (7 + 1)
"""Weights and biases of the LSTM, and the words of the embedding and of the head."""


def text(tokens, vocab_size=WORDS):
    return TextSize(sentences=13, tokens=tokens, vocab_size=vocab_size)


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        *((0.001, 0.1), (60.0, 0.1), (330.0, 0.36), (2e4, 0.36)),
        (math.sqrt(60 * 330), 0.23),  # half way in the logarithm
    ],
)
def test_dropout_is_by_how_often_a_parameter_has_to_fit_a_token(fits, expected):
    assert PARAMETERS == 535
    for passes in (23, 997):
        tokens = round(PARAMETERS * passes / fits)
        assert with_dropout(SMALL, text(tokens), passes).dropout == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        *((1, 0.0), (6, 0.0), (math.sqrt(60), 0.05), (10, 0.1)),
        *((math.sqrt(200), 0.23), (20, 0.36), (70, 0.36)),
    ],
)
def test_in_the_first_passes_there_is_none_of_it_and_then_little(passes, expected):
    assert with_dropout(SMALL, text(1), passes).dropout == pytest.approx(expected, abs=5e-3)


def test_what_is_given_stays_and_no_text_is_no_error():
    assert with_dropout(RNNConfig(dropout=0.0), text(1_000), 7).dropout == 0.0
    assert with_dropout(SMALL, text(0), 20).dropout == 0.36
    assert with_dropout(SMALL, text(1_000), 0).dropout == 0.0


def test_a_larger_network_and_more_words_get_more_of_it_of_as_much_text():
    def given(hidden, vocab_size):
        config = RNNConfig(embedding=hidden, hidden=hidden)
        return with_dropout(config, text(100_000, vocab_size), 20).dropout

    # 8 H (H + 1) parameters of an LSTM and (2 H + 1) of a word
    assert given(97, 101) == 0.1  # 19.1 times for each token
    assert given(307, 101) == pytest.approx(0.1 + 0.26 * math.log(163.7 / 60) / math.log(330 / 60), abs=2e-3)
    assert given(97, 5_003) == pytest.approx(0.1 + 0.26 * math.log(210.3 / 60) / math.log(330 / 60), abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "most"), [("rnn", 0.36), ("transformer", 0.25), ("relational-memory", 0.36)]
)
def test_every_kind_of_generator_is_counted(kind, most):
    config = GeneratorConfig.of_kind(kind)()
    assert with_dropout(config, text(10**9), 10).dropout == 0.1
    assert with_dropout(config, text(100), 20).dropout == most


def test_a_network_that_is_too_large_to_be_built_is_counted():
    config = TransformerConfig(embedding=2**17, hidden=2**17, layers=97)  # 20 trillion parameters
    assert with_dropout(config, text(10**9), 20).dropout == 0.25


def test_weight_decay_goes_with_dropout():
    assert [decay_for(each) for each in (None, 0.0, 0.1)] == [0.01, 0.01, 0.01]
    assert (decay_for(0.25), decay_for(0.55)) == (0.0233, 0.05)
