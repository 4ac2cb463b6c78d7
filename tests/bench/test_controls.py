"""Controls: densities against enumeration, samples against densities, mixtures."""

import itertools
import math

import pytest
import torch
from helpers import build, generator

from seqgen.bench import controls
from seqgen.bench.controls import (
    AlgorithmSampler,
    MixtureSteps,
    NetworkSteps,
    StepSampler,
    truncate,
)
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.generation.sample import sentence_log_prob

V, T = 7, 3
KEPT = (4, 5, 6)


def every() -> torch.Tensor:
    """All sentences of at most T tokens: known words, then EOS, then PAD; or T words."""
    rows = []
    for n in range(T + 1):
        for words in itertools.product(KEPT, repeat=n):
            rows.append([*words, EOS, *[PAD] * (T - n - 1)] if n < T else [*words])
    return torch.tensor(rows)


def network(seed: int = 0) -> NetworkSteps:
    return NetworkSteps(generator(vocab_size=V, seed=seed), (UNK,))


HOW = (
    {},
    {"temperature": 0.6},
    {"top_p": 0.7},
    {"min_p": 0.6},
    {"temperature": 0.8, "top_p": 0.9, "min_p": 0.3},
)


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("model", ["network", "mixture"])
def test_densities_sum_to_one_and_are_the_frequencies_of_samples(model, how):
    models = {
        "network": network(),
        "mixture": MixtureSteps((network(), network(5)), (0.7, 0.3)),
    }
    sampler = StepSampler(models[model], T, **how)
    sentences = every()
    probs = sampler.log_likelihood(sentences).exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)
    n = 4_000
    drawn = sampler.sample(n, seed=3)
    at = (drawn[:, None] == sentences).all(dim=2).int().argmax(dim=1)
    assert torch.equal(sentences[at], drawn)
    counts = torch.bincount(at, minlength=len(sentences))
    assert not counts[probs == 0].any()
    often = n * probs > 5
    chi_square = float(((counts - n * probs) ** 2 / (n * probs))[often].sum())
    degrees = int(often.sum())
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees)


def test_truncation_by_hand():
    probs = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    # before the third token stand .8 of the mass: two tokens are the smallest set with at least .75
    assert truncate(probs, 1.0, 0.75, None)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    # .2 of the likeliest is .1
    assert truncate(probs, 1.0, None, 0.2)[0].tolist() == pytest.approx(
        [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]
    )
    squares = [0.25, 0.09, 0.0225, 0.0025]
    assert truncate(probs, 0.5, None, None)[0].tolist() == pytest.approx([x / 0.365 for x in squares])


def test_the_network_alone_is_the_generator():
    model = network()
    model.forbid = ()
    rows = torch.tensor([[4, 3, 6], [6, EOS, PAD], [EOS, PAD, PAD]])
    found = StepSampler(model, T).log_likelihood(rows)
    assert found.tolist() == pytest.approx(sentence_log_prob(model.generator, rows).tolist(), abs=1e-5)


@pytest.mark.parametrize("model", ["network", "mixture"])
def test_no_sentence_ends_where_none_does(model):
    parts = network(), network(5)
    for part in parts:
        part.generator.head.never_ends_at = 1
    sampler = StepSampler(parts[0] if model == "network" else MixtureSteps(parts, (0.7, 0.3)), T)
    sentences = every()
    probs = sampler.log_likelihood(sentences).exp()
    one_word = sentences[:, 1] == EOS
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)
    assert not probs[one_word].any()
    assert float(probs[sentences[:, 0] == EOS]) > 0.01  # at position 0 one may
    assert not (sampler.sample(500, seed=1)[:, 1] == EOS).any()
    if model == "network":
        parts[0].generator.head.rule_out([UNK])
        expected = sentence_log_prob(parts[0].generator, sentences)
        torch.testing.assert_close(probs[~one_word].log(), expected[~one_word].double(), atol=1e-5, rtol=0)


def test_dropout_is_off_and_the_mode_is_kept():
    own = generator(vocab_size=V, dropout=0.5).train()
    sampler = StepSampler(NetworkSteps(own), T)
    rows = every()
    assert torch.equal(sampler.log_likelihood(rows), sampler.log_likelihood(rows))
    assert own.training


def test_a_mixture_by_hand():
    one, other = network(0), network(1)
    first = torch.full((1,), BOS)
    p, q = (model.step(first, model.initial(1))[0][0] for model in (one, other))
    mixed = MixtureSteps((one, other), (0.25, 0.75))
    assert torch.allclose(mixed.step(first, mixed.initial(1))[0][0], 0.25 * p + 0.75 * q, atol=1e-7)


def test_an_algorithm_with_its_own_sampling_is_asked_for_its_own_density():
    class Own(type(build("mle", vocab_size=V, length=T))):  # type: ignore[misc]
        def log_likelihood(self, tokens):
            return torch.arange(len(tokens)).float()

    plain, own = build("mle", vocab_size=V, length=T), build("mle", vocab_size=V, length=T)
    own.__class__ = Own
    device = torch.device("cpu")
    assert isinstance(controls.sampler_of(plain, T, device, (UNK,)), StepSampler)
    sampler = controls.sampler_of(own, T, device, (UNK,))
    assert isinstance(sampler, AlgorithmSampler)
    assert sampler.log_likelihood(every()[:5]).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(sampler.sample(5, seed=1), sampler.sample(5, seed=1))
    assert sampler.sample(5, seed=1).shape == (5, T)


def test_the_size_of_a_network_with_so_many_parameters():
    assert controls.larger_by(1_000, lambda factor: round(100 * factor**2)) == pytest.approx(
        10**0.5, abs=0.02
    )


def test_a_residual_model_has_the_density_of_what_it_chooses(monkeypatch):
    monkeypatch.setattr(controls, "POOL", 8 * controls.POOL)  # by 10,000 the sum is 1 ± .01
    torch.manual_seed(3)
    residual = build("residual", {"candidates": 4}, vocab_size=V, length=T).eval()
    with torch.no_grad():
        for parameter in residual.discriminator.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape))
    residual.generator.head.rule_out([UNK])
    sampler = controls.sampler_of(residual, T, torch.device("cpu"), (UNK,))
    probs = sampler.log_likelihood(every()).exp()
    assert probs.sum().item() == pytest.approx(1.0, abs=0.02)
    assert residual.log_weights(every())[1].std() > 0.1
    drawn = sampler.sample(20_000, seed=2)
    counts = (drawn[:, None] == every()).all(dim=2).sum(dim=0).double()
    assert counts.sum() == 20_000
    expected = 20_000 * probs / probs.sum()
    often = expected > 5
    statistic = float(((counts - expected).square() / expected)[often].sum())
    freedom = int(often.sum()) - 1
    assert statistic < freedom + 6 * math.sqrt(2 * freedom)


def test_a_mixture_with_n_grams_is_not_taken_for_its_network():
    mixed = build("mle", {"ngram.order": 3}, vocab_size=V, length=T)
    assert isinstance(controls.sampler_of(mixed, T, torch.device("cpu"), (UNK,)), StepSampler)
    mixed.mixture.is_used = True
    assert isinstance(controls.sampler_of(mixed, T, torch.device("cpu"), (UNK,)), AlgorithmSampler)
