"""Summaries of a sentence by hand."""

import math

import torch
from helpers import padded, sentences

from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation import summaries


def test_by_hand():
    tokens = torch.tensor([[5, 5, 7, EOS, PAD], [EOS, PAD, PAD, PAD, PAD]])
    log_probs = torch.tensor([[-1.0, -2.0, -3.0, -6.0, 0.0], [-0.5, 0.0, 0.0, 0.0, 0.0]])
    found = dict(zip(summaries.NAMES, summaries.summarise(tokens, log_probs).t().tolist(), strict=True))
    assert found["length"] == [4.0, 1.0]
    assert found["log_prob"] == [-12.0, -0.5]
    assert found["mean_log_prob"] == [-3.0, -0.5]
    assert found["min_log_prob"] == [-6.0, -0.5]
    # deviations 2, 1, 0, -3 from -3: √(14 / 4)
    assert found["log_prob_deviation"][0] == torch.tensor(math.sqrt(3.5)).item()
    assert found["log_prob_deviation"][1] == 0.0
    assert found["repeated"] == [0.25, 0.0]
    assert found["distinct"] == [0.75, 1.0]


def test_padding_changes_nothing():
    tokens = sentences()
    log_probs = -torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0))
    longer = padded(tokens)
    filled = torch.full(longer.shape, -7.0)
    filled[:, : tokens.shape[1]] = log_probs
    torch.testing.assert_close(
        summaries.summarise(longer, filled), summaries.summarise(tokens, log_probs), rtol=1e-6, atol=1e-6
    )


def test_a_row_of_padding_is_finite():
    assert summaries.summarise(torch.full((2, 3), PAD), torch.zeros(2, 3)).isfinite().all()
