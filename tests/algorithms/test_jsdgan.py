"""JSDGAN: its weights are the divergence's gradient, by hand and by autograd; what an update learns from."""

import math

import pytest
import torch
from helpers import batch, build, sentences

from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import pack
from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation.sample import sentence_log_prob


def build_for(n, **values):
    algorithm = build("jsdgan", values)
    algorithm.read_corpus(pack([[5, EOS]] * n))
    return algorithm


def test_weights_by_hand():
    # p = 1/4; G = 1/4 and 1/12: G log(1 + p / G) is log(2) / 4 and log(4) / 12, in the ratio of 3 to 2
    algorithm = build_for(4)
    weights = algorithm.weights(torch.tensor([1 / 4, 1 / 12]).log())
    assert weights.tolist() == pytest.approx([3 / 5, 2 / 5], rel=1e-5)


def test_weights_are_the_gradient_of_the_jensen_shannon_divergence():
    g = torch.tensor([0.3, 0.1, 0.02, 0.25, 0.03], dtype=torch.float64)  # of five sentences; others .3
    p = 1 / 5
    log_g = g.log().requires_grad_()
    m = (p + log_g.exp()) / 2
    of_data = (p * (p / m).log()).sum()
    others = 1 - log_g.exp().sum()
    of_generator = (log_g.exp() * (log_g - m.log())).sum() + others * math.log(2)
    (gradient,) = torch.autograd.grad((of_data + of_generator) / 2, log_g)
    weights = build_for(5).weights(log_g.detach())
    torch.testing.assert_close(weights, gradient / gradient.sum(), rtol=1e-6, atol=0)


def test_weights_are_bounded_and_do_not_underflow():
    log_probs = torch.tensor([-40.0, -900.0])
    assert build_for(5).weights(log_probs).tolist() == pytest.approx(
        [1 / (1 + math.exp(-10)), 1 / (1 + math.exp(10))]
    )
    even = build_for(5, max_log_ratio=0.0).weights(log_probs)
    assert even.tolist() == [0.5, 0.5]


def test_an_update_is_of_the_weighted_likelihood(monkeypatch):
    algorithm = build_for(3, **{"generator.dropout": 0.0})
    caught = []
    monkeypatch.setattr(
        optim, "update", lambda losses, clip: caught.append(losses) or dict.fromkeys(losses, 0.0)
    )
    tokens = sentences(5)
    metrics = algorithm.generator_step(Batch(tokens), 0.5, tokens)
    log_g = sentence_log_prob(algorithm.generator, tokens)
    weights = algorithm.weights(log_g)
    lengths = (tokens != PAD).sum(dim=1)
    wanted = -(weights * log_g).sum() / (weights * lengths).sum()
    assert float(metrics["nll"]) == pytest.approx(float(wanted), rel=1e-5)
    assert float(metrics["effective_sentences"]) == pytest.approx(1 / float(weights.square().sum()), rel=1e-4)
    (loss,) = caught[0].values()
    assert loss.item() == pytest.approx(float(wanted), rel=1e-5)


def test_the_number_of_sentences_is_kept_with_the_weights():
    one, other = build_for(7), build_for(3)
    other.load_state_dict(one.state_dict())
    assert float(other.log_p) == pytest.approx(-math.log(7))
    assert one.step(batch(), 0.0).keys() == {"nll", "effective_sentences", "grad_norm"}


def test_settings_out_of_range():
    with pytest.raises(UserError, match=r"max_log_ratio=-1\.0 is out of range"):
        settings.override(build("jsdgan").config, {"max_log_ratio": -1.0})
