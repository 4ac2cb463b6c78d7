"""A mixture of a network and n-grams: its distribution, its draws, and both step by step."""

import math

import pytest
import torch
from helpers import GENERATOR_KINDS, V, generator, sentences

from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.generation.mixture_draw import log_distribution, mixture_drawer
from seqgen.generation.sample import log_prob, sample, sentence_log_prob, shifted
from seqgen.models.ngram_mixture import NGramMixture

N = 40_000


def mixture(hidden: int, order: int = 3) -> NGramMixture:
    """Counts of 101 sentences, and a gate that is not constant."""
    made = NGramMixture(hidden, order)
    rows = [[BOS, *(int(token) for token in row if token)] for row in sentences(101, 7, seed=4)]
    made.count(torch.tensor([token for row in rows for token in row]).numpy(), V)
    torch.manual_seed(2)
    made.gate_weight.copy_(torch.randn(hidden))
    made.gate_bias.fill_(-0.3)
    made.is_used = True
    return made


@pytest.fixture
def both():
    network = generator("rnn").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network, mixture(network.head.weight.shape[1])


def state_and_context(network, mixed, prefix):
    given = torch.tensor([[BOS, *prefix]])
    hidden, _ = network.hidden(given, network.initial(1))
    contexts = mixed.tables.read(given, mixed.tables.begin(1))
    return hidden[:, -1].detach(), contexts[:, -1]


@torch.no_grad()
def distribution(network, mixed, prefix):
    hidden, context = state_and_context(network, mixed, prefix)
    return log_distribution(hidden, context, network.head.weight, network.head.bias, mixed)[0].exp().double()


@pytest.mark.parametrize("prefix", [(), (5,), (5, 9), (12, 12, 12)])
def test_probabilities_sum_to_1_and_are_the_mean_of_both(both, prefix):
    network, mixed = both
    probs = distribution(network, mixed, prefix)
    assert probs.sum().item() == pytest.approx(1.0, abs=1e-5)
    hidden, context = state_and_context(network, mixed, prefix)
    share = torch.sigmoid(hidden[0] @ mixed.gate_weight + mixed.gate_bias).item()
    of_network = torch.softmax(network.head(hidden)[0], dim=-1).double()
    of_counts = mixed.tables.distribution(context)[0].double()
    assert of_counts.sum().item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(probs, share * of_network + (1 - share) * of_counts, rtol=1e-4, atol=1e-7)
    assert of_counts[PAD] == of_counts[BOS] == 0


@pytest.mark.parametrize("prefix", [(), (5, 9)])
@pytest.mark.parametrize(
    "how", [{}, {"forbid": (EOS, 5)}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8, "forbid": (7,)}]
)
def test_draws_follow_the_mixed_distribution_and_report_it(both, prefix, how):
    network, mixed = both
    expected = distribution(network, mixed, prefix)
    forbidden = list(how.get("forbid", ()))
    expected[forbidden] = 0
    expected = expected ** (1 / how.get("temperature", 1.0))
    if "top_k" in how:
        expected[expected < expected.topk(how["top_k"]).values[-1]] = 0
    if "top_p" in how:
        expected = expected / expected.sum()
        ordered, ids = expected.sort(descending=True)
        expected[ids[(ordered.cumsum(0) - ordered) >= how["top_p"]]] = 0
    expected = expected / expected.sum()
    hidden, context = state_and_context(network, mixed, prefix)
    draw = mixture_drawer(network.head, mixed, hidden.dtype, rng=torch.Generator().manual_seed(6), **how)
    tokens, log_probs = draw(hidden.expand(N, -1), context.expand(N, -1))
    counts = torch.bincount(tokens, minlength=V).double()
    possible = expected > 0
    assert counts[~possible].sum() == 0
    often = N * expected > 5
    statistic = float(((counts - N * expected).square() / (N * expected))[often].sum())
    freedom = max(int(often.sum()) - 1, 1)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)
    torch.testing.assert_close(log_probs.double(), expected[tokens].log(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_sampled_log_probs_are_those_of_scoring_at_once(kind):
    network = generator(kind).eval()
    mixed = mixture(network.head.weight.shape[1])
    tokens, log_probs = sample(network, 31, 7, mixture=mixed, rng=torch.Generator().manual_seed(1))
    scored = log_prob(network, tokens, mixture=mixed)
    torch.testing.assert_close(scored, log_probs, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(scored, log_prob(network, tokens), atol=1e-2)
    row = tokens[0][tokens[0] != PAD].tolist()
    steps = [distribution(network, mixed, row[:t])[token].log() for t, token in enumerate(row)]
    by_hand = float(sum(steps))
    assert float(sentence_log_prob(network, tokens[:1], mixture=mixed)) == pytest.approx(by_hand, rel=1e-4)
    assert shifted(tokens)[0, 0] == BOS


def test_prompts_and_shortest_lengths(both):
    network, mixed = both
    tokens = sample(network, 53, 7, mixture=mixed, prompt=torch.tensor([5, 9]), min_length=5).tokens
    assert torch.equal(tokens[:, :2], torch.tensor([5, 9]).expand(53, 2))
    assert not (tokens[:, :5] == EOS).any()


def test_counts_and_gate_are_kept_with_the_weights(both):
    network, mixed = both
    other = NGramMixture(network.head.weight.shape[1], 3)
    mixed.used.fill_(True)
    other.load_state_dict(mixed.state_dict())
    assert other.is_used
    tokens = sentences()
    assert torch.equal(log_prob(network, tokens, mixture=other), log_prob(network, tokens, mixture=mixed))


def test_a_mixture_that_has_not_counted_yet_is_kept_too():
    one, other = NGramMixture(11, 3), NGramMixture(11, 3)
    other.load_state_dict(one.state_dict())
    assert not other.is_used
