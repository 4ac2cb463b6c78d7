"""A generator that is trained on: its learning rate, and sentences with unknown words."""

import pytest
import torch
from helpers import build

from seqgen.algorithms import tuned_generator
from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.data.tokenizer import UNK


def test_the_learning_rate_rises_then_falls_to_a_tenth():
    algorithm = build("seqgan", {"warmup": 0.25, "lr": 0.1})
    rates = []
    for progress in (0.125, 0.25, 1.0):
        algorithm.set_learning_rate(progress)
        rates.append(algorithm.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.05, 0.1, 0.01])


def test_on_an_accelerator_known_sentences_take_the_places_of_unknown_ones(monkeypatch):
    monkeypatch.setattr(tuned_generator, "leaves_out", lambda device: False)
    real = torch.tensor([[5, 6], [UNK, 7], [8, 9], [4, UNK], [10, 11]])
    assert without_unknown(real).tolist() == [[5, 6], [8, 9], [10, 11], [5, 6], [8, 9]]
    unknown = torch.full((3, 2), UNK)
    assert torch.equal(without_unknown(unknown), unknown)
