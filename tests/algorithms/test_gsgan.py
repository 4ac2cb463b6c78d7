"""GSGAN: its loss by hand, the temperature's fall, and what it learns from the discriminator alone."""

import math

import pytest
import torch
from helpers import batch, build, sentences

from seqgen.algorithms import relaxed_adversary
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.gumbel_softmax import Relaxed


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        # -log σ of 2 and -1
        ("cross_entropy", (math.log(1 + math.exp(-2)) + math.log(1 + math.e)) / 2),
        ("least_squares", ((2 - 1) ** 2 + (-1 - 1) ** 2) / 2 / 2),
    ],
)
def test_the_generators_loss_by_hand(name, wanted, monkeypatch):
    algorithm = build("gsgan", {"discriminator.loss": name})
    table = torch.zeros(13)
    table[6], table[7] = 2.0, -1.0
    algorithm.discriminator.forward = lambda tokens: (
        tokens[:, 0] @ table if tokens.is_floating_point() else table[tokens[:, 0]] + 100
    )
    fake = torch.tensor([[6, EOS], [7, EOS]])
    soft = torch.nn.functional.one_hot(fake, 13).float()
    caught = []
    monkeypatch.setattr(relaxed_adversary, "sample_relaxed", lambda *given, **how: Relaxed(soft, fake))
    monkeypatch.setattr(
        optim, "update", lambda losses, clip: caught.append(losses) or dict.fromkeys(losses, 0.0)
    )
    metrics = algorithm.generator_step(batch(), 0.5, sentences())
    assert float(metrics["g_loss"]) == pytest.approx(wanted, rel=1e-5)
    assert list(caught[0]) == [algorithm.optimizers["generator"]]


def test_the_temperature_falls_and_sentences_are_soft_without_unknown_words(monkeypatch):
    algorithm, seen = build("gsgan", {"tau": 8.0, "tau_end": 0.5}), []
    sample = relaxed_adversary.sample_relaxed

    def watched(*given, **how):
        seen.append((how, sample(*given, **how)))
        return seen[-1][1]

    monkeypatch.setattr(relaxed_adversary, "sample_relaxed", watched)
    taus = [algorithm.generator_step(batch(), progress, sentences())["tau"] for progress in (0.0, 0.5, 0.75)]
    assert taus == pytest.approx([8.0, 2.0, 1.0])
    for (how, relaxed), tau in zip(seen, taus, strict=True):
        assert how["temperature"] == pytest.approx(tau)
        assert how["forbid"] == (UNK,)
        of_words = relaxed.soft[relaxed.tokens != PAD].amax(dim=1)
        assert 0 < float(of_words.detach().mean()) < 0.99


def test_no_dropout_while_the_generator_learns():
    algorithm = build("gsgan", {"generator.dropout": 0.5, "discriminator.dropout": 0.5})
    algorithm.train()
    modes = []
    read = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: (
        modes.append((algorithm.generator.dropout.training, algorithm.discriminator.dropout.training))
        or read(tokens)
    )
    algorithm.generator_step(batch(), 0.5, sentences())
    assert modes == [(False, False)] * 2
    assert algorithm.discriminator.training
    assert algorithm.discriminator.dropout.training


def test_the_discriminator_alone_teaches_what_is_real():
    # Real sentences begin with one word of ten; there is no likelihood term.
    values = {
        "lr": 3e-2,
        "batch_size": 31,
        "generator.dropout": 0.0,
        "discriminator.kind": "cnn",
        "discriminator.filters": 0.05,
        "discriminator.dropout": 0.0,
        "discriminator.lr": 1e-2,
        "discriminator_pretraining_steps": 10,
    }
    algorithm = build("gsgan", values)
    real = sentences(62)
    real[:, 0] = 5
    fraction = lambda: float((algorithm.sample(500).tokens[:, 0] == 5).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for i in range(50):
        algorithm.step(Batch(real), i / 50)
    assert fraction() > 5 * before


def test_settings_out_of_range():
    with pytest.raises(UserError, match=r"tau_end=0\.0 is out of range"):
        settings.override(build("gsgan").config, {"tau_end": 0.0})
