"""Default dropout and weight decay: by hand at the points of the rule, whatever the vocabulary."""

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
    ("ratio", "expected"),
    [
        *((0.001, 0.1), (0.5, 0.1), (0.9, 0.25), (3.0, 0.25), (8.0, 0.25), (20.0, 0.4), (444.0, 0.4)),
        # half way in the logarithm
        *((math.sqrt(0.5 * 0.9), 0.175), (math.sqrt(8 * 20), 0.325)),
    ],
)
def test_dropout_is_by_the_parameters_that_a_token_has_to_fit(ratio, expected):
    assert PARAMETERS == 444
    assert with_dropout(SMALL, round(PARAMETERS / ratio)).dropout == pytest.approx(expected, abs=5e-3)


def test_what_is_given_stays_and_no_text_is_no_error():
    assert with_dropout(RNNConfig(dropout=0.0), 1_000).dropout == 0.0
    assert with_dropout(SMALL, 0).dropout == 0.4


def test_a_larger_network_gets_more_of_it_of_the_same_text():
    tokens = 600_000
    small, large = (with_dropout(RNNConfig(hidden=hidden), tokens).dropout for hidden in (96, 384))
    assert (small, large) == (0.1, 0.25)


@pytest.mark.parametrize("kind", ["rnn", "transformer", "relational-memory"])
def test_every_kind_of_generator_is_counted(kind):
    config = GeneratorConfig.of_kind(kind)()
    assert with_dropout(config, 10**9).dropout == 0.1
    assert with_dropout(config, 100).dropout == 0.4


def test_a_network_that_is_too_large_to_be_built_is_counted():
    config = TransformerConfig(embedding=2**17, hidden=2**17, layers=97)  # 20 trillion parameters
    assert with_dropout(config, 10**9).dropout == 0.4


def test_weight_decay_goes_with_dropout():
    assert [decay_for(each) for each in (None, 0.0, 0.1)] == [0.01, 0.01, 0.01]
    assert (decay_for(0.25), decay_for(0.55)) == (0.0233, 0.05)
