"""Default dropout and weight decay: by hand at the points of the rule."""

import math

import pytest

from seqgen.algorithms.regularisation import TextSize, decay_for, with_dropout
from seqgen.models.base import GeneratorConfig
from seqgen.models.rnn_generator import RNNConfig
from seqgen.models.transformer_generator import TransformerConfig

SMALL = RNNConfig(embedding=5, hidden=7)
WORDS = 11
PARAMETERS = 4 * 7 * (5 + 7) + 2 * 4 * 7 + (4 + 2 * (WORDS - 4)) * (5 + 7 + 1)
"""Weights and biases of the LSTM, and the words of embedding and head: all but the special ones twice."""


def text(tokens, vocab_size=WORDS):
    return TextSize(sentences=13, tokens=tokens, vocab_size=vocab_size)


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        *((0.001, 0.1), (90.0, 0.1), (550.0, 0.36), (2e4, 0.36)),
        (math.sqrt(90 * 550), 0.23),  # half way in the logarithm
    ],
)
def test_dropout_is_by_how_often_a_parameter_has_to_fit_a_token(fits, expected):
    assert PARAMETERS == 626
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

    def expected(hidden, vocab_size):
        parameters = 8 * hidden * (hidden + 1) + (2 * vocab_size - 4) * (2 * hidden + 1)
        return 0.1 + 0.26 * math.log(parameters * 20 / 100_000 / 90) / math.log(550 / 90)

    assert given(97, 101) == 0.1
    assert given(307, 101) == pytest.approx(expected(307, 101), abs=2e-3)
    assert given(97, 3_001) == pytest.approx(expected(97, 3_001), abs=2e-3)
    assert 0.1 < given(307, 101) < given(97, 3_001) < 0.36


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
    assert [decay_for(each, 0.3) for each in (None, 0.0, 0.1)] == [0.01, 0.01, 0.01]
    # half way from 0.1 to 0.3 it is the geometric mean of 0.01 and the most
    assert (decay_for(0.2, 0.3), decay_for(0.2, 0.04)) == (0.0548, 0.02)
    assert (decay_for(0.3, 0.3), decay_for(0.55, 0.3), decay_for(0.55, 0.04)) == (0.3, 0.3, 0.04)
