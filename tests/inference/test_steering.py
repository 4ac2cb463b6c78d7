"""Steering: frequencies by enumeration, for a plain generator and a residual model."""

import pytest
import torch
from helpers import build

from seqgen.core.errors import UserError
from seqgen.core.user_functions import SentenceFunction
from seqgen.data.tokenizer import EOS, PAD
from seqgen.data.tokenizer_training import numbered_tokenizer
from seqgen.generation import resampling
from seqgen.inference.steering import Steering, steered_sample

WEIGHT, K, N = 1.5, 4, 20_000


def length(sentences):
    return [len(each.split()) for each in sentences]


@pytest.mark.parametrize("name", ["mle", "residual"])
def test_a_sentence_is_chosen_by_exp_of_its_weighted_reward(name):
    algorithm = build(name, vocab_size=7, length=2).eval()
    energy = Steering(SentenceFunction("length", length), WEIGHT).energy(numbered_tokenizer(7))
    rng = torch.Generator().manual_seed(1)
    found = steered_sample(algorithm, N, energy, candidates=K, rng=rng).tokens
    assert found.shape == (N, 2)
    torch.manual_seed(2)
    plain = algorithm.sample(N, candidates=1).tokens if name == "residual" else algorithm.sample(N).tokens
    rewards = (plain != PAD).logical_and(plain != EOS).sum(dim=1)
    share = torch.bincount(rewards, minlength=3) / N
    pool = (WEIGHT * rewards).float()
    expected = share * resampling.log_chosen(WEIGHT * torch.arange(3.0), K, pool).exp()
    words = (found != PAD).logical_and(found != EOS).sum(dim=1)
    counts = torch.bincount(words, minlength=3) / N
    torch.testing.assert_close(counts.double(), expected, atol=0.02, rtol=0)
    assert counts[2] > share[2] + 0.05


def test_a_weight_of_none_and_out_of_range():
    algorithm = build("mle", vocab_size=7, length=2).eval()
    energy = Steering(SentenceFunction("length", length), 0.0).energy(numbered_tokenizer(7))
    assert steered_sample(algorithm, 5, energy).tokens.shape == (5, 2)
    with pytest.raises(UserError, match="weight=-1 is out of range"):
        Steering(SentenceFunction("length", length), -1)
