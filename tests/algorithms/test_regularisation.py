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
    for tokens in (1_009, 100_003):
        found = with_dropout(SMALL, tokens, passes=fits * tokens / PARAMETERS).dropout
        assert found == pytest.approx(expected, abs=1e-3)


def test_what_is_given_stays_and_no_text_is_no_error():
    assert with_dropout(RNNConfig(dropout=0.0), 1_000, 7).dropout == 0.0
    assert with_dropout(SMALL, 0, 3).dropout == 0.4
    assert with_dropout(SMALL, 1_000, 0).dropout == 0.1


def test_a_larger_network_gets_more_of_it_of_the_same_text():
    small, large = (with_dropout(RNNConfig(hidden=each), 600_000, 10).dropout for each in (96, 384))
    assert (small, large) == (0.1, 0.25)


@pytest.mark.parametrize("kind", ["rnn", "transformer", "relational-memory"])
def test_every_kind_of_generator_is_counted(kind):
    config = GeneratorConfig.of_kind(kind)()
    assert with_dropout(config, 10**9, 10).dropout == 0.1
    assert with_dropout(config, 100, 10).dropout == 0.4


def test_a_network_that_is_too_large_to_be_built_is_counted():
    config = TransformerConfig(embedding=2**17, hidden=2**17, layers=97)  # 20 trillion parameters
    assert with_dropout(config, 10**9, 10).dropout == 0.4


def test_weight_decay_goes_with_dropout():
    assert [decay_for(each) for each in (None, 0.0, 0.1)] == [0.01, 0.01, 0.01]
    assert (decay_for(0.25), decay_for(0.55)) == (0.0233, 0.05)
