"""TextGAN: both losses by hand, the one-hots that are read, and what matching alone teaches."""

import math

import pytest
import torch
from helpers import batch, build, sentences

from seqgen.algorithms import relaxed_adversary
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.functional.mmd import WIDTHS

SMALL = {"discriminator.filters": 0.02}
KERNEL = sum(math.exp(-1 / width) for width in WIDTHS) / len(WIDTHS)
"""Of two points, the only ones: their squared distance is twice the mean of all pairs."""


def of_first(table):
    """Features (B, 1) that are a number for the first token, of ids or one-hots."""

    def features(tokens):
        ids = tokens.argmax(dim=-1) if tokens.is_floating_point() else tokens
        return torch.tensor(table)[ids[:, :1]].requires_grad_()

    return features


TABLE = [0.0] * 5 + [1.0, 3.0] + [0.0] * 6


def test_the_losses_by_hand():
    algorithm = build("textgan-mmd", SMALL | {"discriminator.mmd_weight": 0.5})
    algorithm.discriminator.features = of_first(TABLE)
    algorithm.discriminator.score = lambda features: features[:, 0]
    real, fake = torch.tensor([[5, 7]]), torch.tensor([[6, 7]])
    mmd = 2 - 2 * KERNEL
    soft = torch.nn.functional.one_hot(fake, 13).float()
    assert algorithm.generator_loss(real, soft).item() == pytest.approx(mmd, rel=1e-5)
    loss, metrics = algorithm.discriminator_loss(real, fake)
    # logits 1 of the real sentence and 3 of the other
    entropy = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert loss.item() == pytest.approx(entropy - 0.5 * mmd, rel=1e-5)
    assert float(metrics["d_mmd"]) == pytest.approx(mmd, rel=1e-5)
    assert float(metrics["d_accuracy"]) == 0.5


def test_the_discriminator_reads_one_hots(monkeypatch):
    algorithm, seen = build("textgan-mmd", SMALL | {"tau": 0.7}), []
    sample = relaxed_adversary.sample_relaxed

    def watched(*given, **how):
        seen.append((how, sample(*given, **how)))
        return seen[-1][1]

    monkeypatch.setattr(relaxed_adversary, "sample_relaxed", watched)
    metrics = algorithm.generator_step(batch(), 0.5, sentences())
    ((how, relaxed),) = seen
    assert metrics["tau"] == how["temperature"] == 0.7
    assert torch.equal(relaxed.soft.detach(), torch.nn.functional.one_hot(relaxed.tokens, 13).float())


def test_matching_features_alone_teaches_what_is_real():
    # Real sentences begin with one word of ten; there is no likelihood term.
    values = {"lr": 3e-2, "discriminator.lr": 1e-2, "batch_size": 31, "generator.dropout": 0.0}
    algorithm = build("textgan-mmd", values | {"discriminator.filters": 0.05})
    real = sentences(62)
    real[:, 0] = 5
    fraction = lambda: float((algorithm.sample(500).tokens[:, 0] == 5).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for i in range(50):
        algorithm.step(Batch(real), i / 50)
    assert fraction() > 3 * before


def test_settings_out_of_range():
    with pytest.raises(UserError, match=r"mmd_weight=-1\.0 is out of range"):
        settings.override(build("textgan-mmd").config, {"mmd_weight": -1.0})
