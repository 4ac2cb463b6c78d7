"""The n-gram mixture as a module: its gate is fitted to held-out text, and it is saved with its counts."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqgen.data.tokenizer import BOS, EOS, UNK
from seqgen.models.ngram_mixture import HeldOut, NGramMixture

H, V, ORDER = 5, 11, 3
LINES = ([4, 5, 6, 2], [4, 5, 7, 2], [8, 5, 6, 2], [9, 2], [4, 10, 3, 2])


def mixture(dtype: torch.dtype = torch.float32, lines=LINES) -> NGramMixture:
    made = NGramMixture(H, ORDER).to(dtype)
    made.count(np.array([token for line in lines for token in (BOS, *line)]), V)
    return made


def held_out(weight: list[float], bias: float, *, tokens: int = 7919, seed: int = 0) -> HeldOut:
    """Tokens of 19 a sentence of which the network knows half, by the state, and the counts the other half.

    A component gives what it knows probability 0.9, what it does not 0.1; that the network is the one that
    knows a token has the probability sigmoid(weight · state + bias).
    """
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, H, generator=rng)
    odds = hidden.double() @ torch.tensor(weight, dtype=torch.float64) + bias
    by_network = torch.rand(tokens, generator=rng) < torch.sigmoid(odds)
    network = torch.where(by_network, 0.9, 0.1).double().log()
    counts = torch.where(by_network, 0.1, 0.9).double().log()
    return HeldOut(hidden, network, counts, torch.arange(tokens) // 19)


def test_a_constant_gate_is_the_best_weight_of_all():
    # Half the time 0.9 λ + 0.1 (1 - λ), else the reverse: by symmetry λ = 1/2, and each token has 1/2.
    found = mixture()
    fit = found.fit(held_out([0.0] * H, 0.0))
    assert fit.weight == pytest.approx(0.5, abs=0.02)
    assert fit.nll == pytest.approx(math.log(2), abs=2e-3)
    assert fit.network_nll == pytest.approx(-(math.log(0.9) + math.log(0.1)) / 2, abs=0.03)
    assert found.is_used
    assert bool(found.used)


def test_the_gate_reads_the_state():
    plain = mixture().fit(held_out([0.0] * H, 0.0))
    found = mixture()
    fit = found.fit(held_out([3.0, 0.0, -2.0, 0.0, 0.0], 0.0))
    assert fit.nll < plain.nll - 0.1
    weight = found.gate_weight / found.gate_weight.norm()
    expected = torch.tensor([3.0, 0.0, -2.0, 0.0, 0.0]) / math.sqrt(13)
    torch.testing.assert_close(weight, expected, atol=0.1, rtol=0)
    log_network, log_counts = found.log_weights(torch.randn(7, H))
    torch.testing.assert_close(log_network.exp() + log_counts.exp(), torch.ones(7), atol=1e-6, rtol=0)


def test_a_mixture_that_does_not_help_is_not_kept():
    network = torch.full((950,), math.log(0.5), dtype=torch.float64)
    part = held_out([0.0] * H, 0.0, tokens=950)
    found = mixture()
    fit = found.fit(part._replace(network=network, ngrams=network - 1))
    assert fit == (-math.log(0.5), -math.log(0.5), 0.0)
    assert not found.is_used


def test_noise_in_a_small_text_is_not_taken_for_use():
    # Each component is right as often as the other, but sentence by sentence: the gain is the mixture's own.
    kept = 0
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        network = torch.randn(95, generator=rng).double().clamp(max=0) - 1
        hidden = torch.randn(95, 61, generator=rng)
        counts = network - 0.3 + 0.1 * torch.randn(95, generator=rng).double()
        made = NGramMixture(61, ORDER)
        made.fit(HeldOut(hidden, network, counts, torch.arange(95) // 5))
        kept += made.is_used
    assert kept <= 2


def test_a_gate_judges_no_sentence_that_it_was_fitted_to():
    # Every token has a state of its own that says which component knows it, so a gate can learn it by heart.
    tokens = 65
    part = HeldOut(
        torch.eye(tokens),
        torch.where(torch.arange(tokens) % 2 == 0, 0.9, 0.1).double().log(),
        torch.where(torch.arange(tokens) % 2 == 0, 0.1, 0.9).double().log(),
        torch.arange(tokens),
    )
    made = NGramMixture(tokens, ORDER)
    fit = made.fit(part)
    judged = made.log_weights(part.hidden)
    own = torch.logaddexp(judged[0].double() + part.network, judged[1].double() + part.ngrams)
    assert float(-own.mean()) < math.log(2) - 0.005  # what was learnt by heart
    assert fit.nll > math.log(2) - 0.002


def test_a_gate_that_was_fitted_before_is_found_again_in_a_few_steps(monkeypatch):
    steps = []
    loss = F.logsigmoid
    monkeypatch.setattr(F, "logsigmoid", lambda logit: steps.append(1) or loss(logit))
    made, part = mixture(), held_out([3.0, 0.0, -2.0, 0.0, 0.0], 0.0)
    first = made.fit(part)
    gate, taken = made.gate_weight.clone(), len(steps)
    again = made.fit(part)
    assert len(steps) - taken < 0.8 * taken
    assert again.nll == pytest.approx(first.nll, abs=1e-5)
    torch.testing.assert_close(made.gate_weight, gate, atol=0.01, rtol=0.01)


def test_log_probs_are_those_of_the_weighted_sum():
    made = mixture(torch.float64)
    made.gate_weight.copy_(torch.linspace(-1, 1, H))
    made.gate_bias.fill_(0.3)
    hidden, tables = torch.randn(3, H, dtype=torch.float64), made.tables
    contexts = tables.read(torch.tensor([[BOS, 4, 5], [BOS, 9, 9], [BOS, 8, 5]]), tables.begin(3))[:, -1]
    network = torch.log_softmax(torch.randn(3, V, dtype=torch.float64), dim=-1)
    weight = torch.sigmoid(hidden @ made.gate_weight + 0.3)[:, None]
    expected = weight * network.exp() + (1 - weight) * tables.distribution(contexts)
    torch.testing.assert_close(expected.sum(dim=1), torch.ones(3, dtype=torch.float64), atol=1e-10, rtol=0)
    for token in range(2, V):
        tokens = torch.full((3,), token)
        found = made.log_probs(hidden, network[:, token], contexts, tokens)
        torch.testing.assert_close(found.exp(), expected[:, token], atol=1e-10, rtol=0)


def test_tokens_that_no_sentence_holds_have_no_probability_in_the_counts_either():
    lines = ([4, 5, 6], [4, 5, 7], [8, 5, 6])
    plain, made = mixture(torch.float64, lines), NGramMixture(H, ORDER).double()
    made.rule_out((EOS, UNK))
    made.count(np.array([token for line in lines for token in (BOS, *line)]), V)
    contexts = made.tables.read(torch.tensor([[BOS, 4, 5], [BOS, 9, 9]]), made.tables.begin(2))[:, -1]
    found = made.tables.distribution(contexts)
    assert (plain.tables.distribution(contexts)[:, [EOS, UNK]] > 1e-3).all()
    assert not found[:, [EOS, UNK]].any()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, dtype=torch.float64), atol=1e-10, rtol=0)
    rest = [token for token in range(V) if token not in (EOS, UNK)]
    ratio = made.unigrams[rest] / plain.unigrams[rest].clamp(min=1e-30)
    torch.testing.assert_close(ratio[2:], ratio[2:].mean().expand(7), atol=1e-10, rtol=0)


def test_counts_of_any_size_come_back_with_the_state():
    whole = nn.Sequential(mixture())
    whole[0].fit(held_out([1.0] * H, 0.5))
    other = nn.Sequential(mixture(lines=LINES[:2]))
    other.load_state_dict(whole.state_dict())
    assert other[0].is_used
    assert other[0].widths == whole[0].widths
    for mine, given in zip(other[0].tables[:4], whole[0].tables[:4], strict=True):
        assert torch.equal(mine, given)
    assert {name.removeprefix("0.") for name in whole.state_dict()} == {
        "keys",
        "counts",
        "sizes",
        "gate_weight",
        "gate_bias",
        "used",
    }


def test_a_run_from_before_there_were_n_grams_is_the_network_alone():
    other = nn.Sequential(mixture(), nn.Linear(2, 3))
    other.load_state_dict(nn.Sequential(nn.Identity(), nn.Linear(2, 3)).state_dict())
    assert not other[0].is_used


def test_a_small_text_does_not_teach_the_gate_more_than_it_knows():
    # Whatever the state, of 61 units for 190 tokens, each component knows half of the tokens.
    part = held_out([0.0] * H, 0.0, tokens=190)
    part = part._replace(hidden=torch.randn(190, 61, generator=torch.Generator().manual_seed(1)))
    assert NGramMixture(61, ORDER).fit(part).nll < math.log(2) + 0.08
