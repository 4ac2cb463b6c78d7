"""CoT: both losses against their definitions, where the mediator starts, and what the pair learns."""

import pytest
import torch
from helpers import batch, build, same, sentences, without_compaction
from torch.distributions import Categorical, kl_divergence

from seqgen.core import optim
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import PAD, UNK
from seqgen.generation.sample import sentence_log_prob, shifted

QUIET = {"generator.dropout": 0.0, "discriminator.dropout": 0.0}


def next_token(model, tokens):
    logits, _ = model(shifted(tokens), model.initial(len(tokens)))
    logits[..., UNK] = -1e4
    return Categorical(logits=logits)


def test_the_generators_loss_is_the_divergence_at_its_own_prefixes(monkeypatch):
    algorithm = build("cot", {"discriminator.dropout": 0.5})
    algorithm.train()
    tokens = sentences(3, seed=4)
    monkeypatch.setattr(algorithm, "generate", lambda n: tokens[:n])
    caught = []
    monkeypatch.setattr(
        optim, "update", lambda losses, clip: caught.append(losses) or dict.fromkeys(losses, 0.0)
    )
    metrics = algorithm.generator_step(batch(), 0.5, sentences())
    algorithm.eval()
    of_tokens = kl_divergence(
        *(next_token(m, tokens) for m in (algorithm.generator, algorithm.discriminator))
    )
    wanted = of_tokens[tokens != PAD].mean()
    assert metrics["g_loss"].item() == pytest.approx(wanted.item(), rel=1e-4)
    (found,) = caught[0].values()
    for mine, theirs in zip(
        torch.autograd.grad(found, list(algorithm.generator.parameters())),
        torch.autograd.grad(wanted, list(algorithm.generator.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    unused = torch.autograd.grad(found, list(algorithm.discriminator.parameters()), allow_unused=True)
    assert set(unused) == {None}


def test_the_mediators_loss_is_of_a_mixture_of_halves():
    algorithm = build("cot", QUIET)
    real, fake = sentences(2, seed=4), sentences(5, seed=7)
    loss, metrics = algorithm.discriminator_loss(real, fake)
    nats = [sentence_log_prob(algorithm.discriminator, part).mean().neg() for part in (real, fake)]
    lengths = [(part != PAD).sum(dim=1).float().mean() for part in (real, fake)]
    assert loss.item() == pytest.approx(float(sum(nats) / sum(lengths)), rel=1e-5)
    assert metrics == {}


def test_the_mediator_starts_as_the_generator_with_its_calibration():
    start, algorithm = build("mle", seed=3), build("cot")
    start.generator.head.scale.fill_(0.7)
    algorithm.start_from(start)
    assert same(algorithm.generator, start.generator)
    assert same(algorithm.discriminator, start.generator)
    assert float(algorithm.discriminator.head.scale) == pytest.approx(0.7)


def test_the_generator_learns_what_is_real_through_the_mediator():
    # Real sentences begin with one word of ten.
    values = QUIET | {"lr": 1e-2, "discriminator.lr": 1e-2, "batch_size": 31}
    algorithm = build("cot", values)
    real = sentences(62)
    real[:, 0] = 5
    fraction = lambda: float((algorithm.sample(500).tokens[:, 0] == 5).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for i in range(60):
        algorithm.step(Batch(real), i / 60)
    assert fraction() > 5 * before


def test_on_an_accelerator_padding_counts_nothing(monkeypatch):
    algorithm = build("cot", QUIET)
    tokens = sentences(3, seed=4)
    monkeypatch.setattr(algorithm, "generate", lambda n: tokens[:n])
    monkeypatch.setattr(optim, "update", lambda losses, clip: dict.fromkeys(losses, 0.0))
    one = algorithm.generator_step(batch(), 0.5, sentences())["g_loss"]
    without_compaction(monkeypatch)
    other = algorithm.generator_step(batch(), 0.5, sentences())["g_loss"]
    assert other.item() == pytest.approx(one.item(), rel=1e-5)
