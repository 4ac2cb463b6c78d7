"""RelGAN: its relativistic losses by hand, the relaxation's temperature, and what an update learns from."""

import math

import pytest
import torch
from helpers import batch, build, generator, sentences

from seqgen.algorithms import relaxed_adversary
from seqgen.core import optim
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.generation.gumbel_softmax import Relaxed


def softplus(x):
    return math.log(1 + math.exp(x))


def score_by_first(table):
    """A discriminator of one embedding whose score is a number for the first token, of ids or one-hots."""

    def score(tokens):
        ids = tokens.argmax(dim=-1) if tokens.is_floating_point() else tokens
        return torch.tensor(table)[ids[:, 0]].requires_grad_()

    return score


TABLE = [0.0] * 4 + [2.0, -1.0, 0.5, 3.0, 0, 0, 0, 0, 0]


def test_the_losses_by_hand(monkeypatch):
    algorithm = build("relgan")
    algorithm.discriminator.forward = score_by_first(TABLE)
    real, fake = torch.tensor([[4], [5], [7]]), torch.tensor([[6], [7]])
    # pairs of 2 and 0.5, -1 and 3; the third real sentence has no partner
    loss, metrics = algorithm.discriminator_loss(real, fake)
    assert loss.item() == pytest.approx((softplus(0.5 - 2) + softplus(3 + 1)) / 2, rel=1e-5)
    assert float(metrics["d_accuracy"]) == 0.5
    caught = []
    monkeypatch.setattr(
        optim, "update", lambda losses, clip: caught.append(losses) or dict.fromkeys(losses, 0.0)
    )
    soft = torch.nn.functional.one_hot(fake, 13).float()
    monkeypatch.setattr(relaxed_adversary, "sample_relaxed", lambda *given, **how: Relaxed(soft, fake))
    found = algorithm.generator_step(Batch(real), 0.25, real)
    assert float(found["g_loss"]) == pytest.approx((softplus(2 - 0.5) + softplus(-1 - 3)) / 2, rel=1e-5)
    assert list(caught[0]) == [algorithm.optimizers["generator"]]


def test_the_inverse_temperature_rises_exponentially(monkeypatch):
    algorithm, seen = build("relgan", {"beta_max": 81.0}), []
    sample = relaxed_adversary.sample_relaxed

    def watched(*given, **how):
        seen.append(how)
        return sample(*given, **how)

    monkeypatch.setattr(relaxed_adversary, "sample_relaxed", watched)
    taus = [algorithm.generator_step(batch(), progress, sentences())["tau"] for progress in (0.0, 0.25, 0.5)]
    assert taus == pytest.approx([1.0, 1 / 3, 1 / 9])
    assert [how["temperature"] for how in seen] == pytest.approx([1.0, 1 / 3, 1 / 9])
    assert all(how["forbid"] == (UNK,) for how in seen)


def test_the_discriminator_alone_teaches_what_is_real():
    # Real sentences begin with one word of ten; there is no likelihood term.
    values = {"lr": 3e-2, "discriminator.lr": 1e-2, "batch_size": 31, "discriminator_pretraining_steps": 0}
    algorithm = build("relgan", values | {"generator.dropout": 0.0, "beta_max": 3.0})
    real = sentences(62)
    real[:, 0] = 5
    fraction = lambda: float((algorithm.sample(500).tokens[:, 0] == 5).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before = fraction()
    for i in range(40):
        algorithm.step(Batch(real), i / 40)
    assert fraction() > 2 * before


def test_any_kind_of_start_will_do():
    start, algorithm = (
        build("mle", {"generator.kind": "relational-memory"}, seed=3),
        build("relgan", {"generator.kind": "relational-memory"}),
    )
    before = algorithm.discriminator.state_dict()["embedding.weight"].clone()
    algorithm.start_from(start)
    assert torch.equal(algorithm.generator.query.weight, start.generator.query.weight)
    assert torch.equal(algorithm.discriminator.embedding.weight, before)
    assert isinstance(algorithm.generator, type(generator("relational-memory")))
