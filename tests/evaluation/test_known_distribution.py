"""Scores under a known distribution, against sums over all of its sentences."""

import math

import pytest
import torch

from seqgen.evaluation.known_distribution import grammar_divergences

P = {"a": 0.75, "b": 0.25}
Q = {"a": 0.5, "b": 0.25, "c": 0.25}


class Grammar:
    """Two sentences."""

    def log_probs(self, sentences):
        return [math.log(P[each]) if each in P else -math.inf for each in sentences]


def log_density(sentences):
    return torch.tensor([Q[each] for each in sentences], dtype=torch.float64).log()


def _only_a(sentences):
    return torch.tensor([0.0 if each == "a" else -math.inf for each in sentences], dtype=torch.float64)


def test_divergences_of_samples_and_test_sentences_in_their_true_proportions():
    found = grammar_divergences(["a", "a", "b", "c"] * 50, ["a", "a", "a", "b"] * 50, Grammar(), log_density)
    mixed = {each: (P.get(each, 0.0) + Q[each]) / 2 for each in Q}

    def kl(one, other):
        return sum(share * math.log(share / other[each]) for each, share in one.items())

    assert found["forward_kl"] == pytest.approx(kl(P, Q))
    assert found["jensen_shannon"] == pytest.approx((kl(P, mixed) + kl(Q, mixed)) / 2)
    ratios = torch.tensor([math.log(0.75 / 0.5)] * 3 + [0.0]).repeat(50)
    assert found["standard_errors"]["forward_kl"] == pytest.approx(float(ratios.std()) / 200**0.5)


def test_a_test_sentence_that_the_model_cannot_draw_has_no_finite_divergence():
    found = grammar_divergences(["a", "a"], ["a", "b"], Grammar(), _only_a)
    assert "forward_kl" not in found
    assert math.isfinite(found["jensen_shannon"])
