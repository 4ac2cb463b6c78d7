"""Likelihood over real tokens: of models whose likelihood is known, whatever the padding."""

import math

import pytest
import torch
from torch import Tensor

from seqgen.data.token_ids import pack
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.likelihood import (
    Likelihood,
    bounded_batches,
    generator_likelihood,
    likelihood,
    of_sentences,
)
from seqgen.generation.sample import log_prob
from seqgen.models.rnn_generator import RNNGenerator


def test_a_uniform_model_costs_log_v_a_token() -> None:
    def uniform(tokens: Tensor) -> Tensor:
        return torch.full(tokens.shape, -math.log(13))  # at PAD as well: it must not count

    batches = [torch.tensor([[4, 5, EOS], [4, EOS, PAD]]), torch.tensor([[7, UNK, 9, UNK, 11]])]
    found = likelihood(uniform, batches)
    # real tokens: 3 + 2 + 5 (cut off, so no EOS) = 10; sentences: 3
    assert (found.tokens, found.sentences, found.unknown) == (10, 3, 2)
    assert found.nats_per_token == pytest.approx(math.log(13), rel=1e-6)
    assert found.perplexity == pytest.approx(13, rel=1e-6)
    assert found.nats_per_sentence == pytest.approx(10 / 3 * math.log(13), rel=1e-6)


def test_more_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    generator = RNNGenerator(17, embedding=5, hidden=7)
    short = torch.tensor([[4, 5, 6, EOS], [9, EOS, PAD, PAD]])
    padded = torch.cat([short, torch.full((2, 3), PAD)], dim=1)
    before, after = generator_likelihood(generator, [short]), generator_likelihood(generator, [padded])
    assert after.tokens == before.tokens == 6
    assert after.nats == pytest.approx(before.nats, rel=1e-6)


def test_dropout_is_off_and_the_mode_restored() -> None:
    torch.manual_seed(0)
    generator = RNNGenerator(17, embedding=5, hidden=7, dropout=0.5).train()
    tokens = torch.tensor([[4, 5, 6, EOS]])
    first, second = (generator_likelihood(generator, [tokens]).nats for _ in range(2))
    assert first == second
    assert generator.training
    generator.eval()
    assert first == pytest.approx(-float(log_prob(generator, tokens).sum()), rel=1e-6)


def test_an_overflowing_perplexity_is_infinite_and_null_in_a_report() -> None:
    found = Likelihood(nats=1e4, tokens=2, sentences=1)
    assert found.perplexity == math.inf
    assert found.as_dict()["perplexity"] is None


def test_bounded_batches_hold_every_sentence_once_within_the_bound() -> None:
    sentences = [[4] * length for length in (5, 1, 31, 2, 3, 0, 3, 90, 7)]
    batches = list(bounded_batches(pack(sentences), rows=3, positions=32))
    assert sum(int((batch != PAD).sum()) for batch in batches) == sum(map(len, sentences))
    assert sum(map(len, batches)) == len(sentences)
    assert all(len(batch) == 1 or (len(batch) <= 3 and batch.numel() <= 32) for batch in batches)


def test_the_interval_is_of_nats_a_token_over_resampled_sentences() -> None:
    # of two sentences the extremes are twice the first, 2/4, and twice the second, 6/2
    found = of_sentences([1.0, 3.0], [2, 1], seed=0)
    assert found.nats_per_token == pytest.approx(4 / 3)
    assert found.interval == (pytest.approx(0.5), pytest.approx(3.0))
    assert of_sentences([1.0, 3.0], [2, 1]).interval is None
    assert of_sentences([], [], seed=0) == Likelihood(0.0, 0, 0)
