"""Default dropout and weight decay: by hand at the points of the rule."""

import math

import pytest

from seqgen.algorithms.regularisation import decay_for, with_dropout
from seqgen.models.base import GeneratorConfig
from seqgen.models.rnn_generator import RNNConfig
from seqgen.models.transformer_generator import TransformerConfig

SMALL = RNNConfig(embedding=5, hidden=7)
PARAMETERS = 4 * 7 * (5 + 7) + 2 * 4 * 7 + 4 * 5 + 4 * (7 + 1)
"""Weights and biases of the LSTM, and four words of the embedding and of the head."""


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        *((0.001, 0.1), (8.0, 0.1), (16.0, 0.25), (37.0, 0.25), (200.0, 0.25), (500.0, 0.4), (2e4, 0.4)),
        # half way in the logarithm
        *((math.sqrt(8 * 16), 0.175), (math.sqrt(200 * 500), 0.325)),
    ],
)
def test_dropout_is_by_how_often_a_parameter_has_to_fit_a_token(fits, expected):
    assert PARAMETERS == 444
    for passes in (23, 997):
        tokens = round(PARAMETERS * passes / fits)
        assert with_dropout(SMALL, tokens, passes).dropout == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    ("passes", "expected"), [(1, 0.1), (10, 0.1), (math.sqrt(200), 0.175), (20, 0.25), (70, 0.25)]
)
def test_in_the_first_passes_there_is_little_of_it(passes, expected):
    assert with_dropout(SMALL, round(PARAMETERS * passes / 37), passes).dropout == pytest.approx(
        expected, abs=5e-3
    )
    # twice as much of what is above the least, where parameters fit a token very often
    assert with_dropout(SMALL, 1, passes + 10_000 * (passes >= 20)).dropout == pytest.approx(
        0.1 + 2 * (expected - 0.1), abs=5e-3
    )


def test_what_is_given_stays_and_no_text_is_no_error():
    assert with_dropout(RNNConfig(dropout=0.0), 1_000, 7).dropout == 0.0
    assert with_dropout(SMALL, 0, 20).dropout == 0.4
    assert with_dropout(SMALL, 1_000, 0).dropout == 0.1


def test_a_larger_network_gets_more_of_it_of_the_same_text():
    small, large = (with_dropout(RNNConfig(hidden=each), 1_200_000, 20).dropout for each in (96, 384))
    assert (small, large) == (0.1, 0.25)


@pytest.mark.parametrize("kind", ["rnn", "transformer", "relational-memory"])
def test_every_kind_of_generator_is_counted(kind):
    config = GeneratorConfig.of_kind(kind)()
    assert with_dropout(config, 10**9, 10).dropout == 0.1
    assert with_dropout(config, 100, 20).dropout == 0.4


def test_a_network_that_is_too_large_to_be_built_is_counted():
    config = TransformerConfig(embedding=2**17, hidden=2**17, layers=97)  # 20 trillion parameters
    assert with_dropout(config, 10**9, 20).dropout == 0.4


def test_weight_decay_goes_with_dropout():
    assert [decay_for(each) for each in (None, 0.0, 0.1)] == [0.01, 0.01, 0.01]
    assert (decay_for(0.25), decay_for(0.55)) == (0.0233, 0.05)
