"""DGSAN: its loss by hand, when the old generator is replaced, its gradient, and what it learns."""

import math

import pytest
import torch
from helpers import batch, build, same, sentences

from seqgen.algorithms import dgsan
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.generation.sample import Samples, sentence_log_prob


def test_the_loss_by_hand(monkeypatch):
    algorithm = build("dgsan")
    real, fake = sentences(2), sentences(2, seed=2)
    new = {id(real): torch.tensor([-3.0, -5.0]), id(fake): torch.tensor([-7.0, -2.0])}
    old = {id(real): torch.tensor([-4.0, -3.0]), id(fake): torch.tensor([-6.0, -2.5])}
    monkeypatch.setattr(dgsan, "without_unknown", lambda tokens: real)
    monkeypatch.setattr(dgsan, "sample", lambda *given, **how: Samples(fake, fake))
    monkeypatch.setattr(dgsan, "sentence_log_probs", lambda model, tokens: new[id(tokens)])
    monkeypatch.setattr(dgsan, "sentence_log_prob", lambda model, tokens: old[id(tokens)])
    monkeypatch.setattr(optim, "update", lambda losses, clip: dict.fromkeys(losses, 0.0))
    metrics = algorithm.generator_step(batch(), 0.5, sentences())
    # logits 1 and -2 of real sentences, -1 and 1/2 of the others
    on_real = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))
    on_fake = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))
    assert float(metrics["g_loss"]) == pytest.approx((on_real + on_fake) / 4, rel=1e-5)
    assert float(metrics["accuracy"]) == 0.5


def test_right_after_a_replacement_the_gradient_is_of_real_less_old_likelihood(monkeypatch):
    algorithm = build("dgsan", {"generator.dropout": 0.5})
    fake, caught = sentences(6, seed=2), []
    monkeypatch.setattr(dgsan, "sample", lambda *given, **how: Samples(fake, fake))

    def record(losses, clip):
        (loss,) = losses.values()
        caught.extend(torch.autograd.grad(loss, list(algorithm.generator.parameters())))
        return dict.fromkeys(losses, 0.0)

    monkeypatch.setattr(optim, "update", record)
    metrics = algorithm.generator_step(batch(), 0.5, sentences())
    assert float(metrics["g_loss"]) == pytest.approx(math.log(2), rel=1e-5)
    with algorithm.generator.without_dropout():
        on_real, on_fake = (
            dgsan.sentence_log_probs(algorithm.generator, tokens).mean() for tokens in (batch().tokens, fake)
        )
    wanted = torch.autograd.grad((on_fake - on_real) / 4, list(algorithm.generator.parameters()))
    torch.testing.assert_close(tuple(caught), wanted, rtol=1e-4, atol=1e-5)


def test_the_new_generator_replaces_the_old_one_in_time():
    algorithm = build("dgsan", {"replace_every": 3})
    replaced = []
    for i in range(7):
        before = {key: each.clone() for key, each in algorithm.generator.state_dict().items()}
        algorithm.step(batch(seed=i), i / 7)
        old = algorithm.old.state_dict()
        replaced.append(all(torch.equal(old[key], each) for key, each in before.items()))
    assert replaced == [True, False, False, True, False, False, True]
    assert not same(algorithm.old, algorithm.generator)


def test_fake_sentences_are_the_old_generators_without_unknown_words(monkeypatch):
    algorithm, seen = build("dgsan", {"replace_every": 2}), []
    draw = dgsan.sample

    def watched(*given, **how):
        seen.append((given[0], how, draw(*given, **how)))
        return seen[-1][2]

    monkeypatch.setattr(dgsan, "sample", watched)
    algorithm.step(batch(), 0.0)
    assert seen[0][0] is algorithm.old
    assert seen[0][1] == {"forbid": (UNK,)}
    assert len(seen[0][2].tokens) == 6


def test_real_sentences_become_likelier_and_what_was_sampled_less():
    algorithm = build("dgsan", {"replace_every": 5, "lr": 1e-2, "batch_size": 31})
    real = sentences(31)
    real[:, 0] = 5
    fraction = lambda: float((algorithm.sample(500).tokens[:, 0] == 5).float().mean())  # noqa: E731
    torch.manual_seed(2)
    before, likelihood = fraction(), float(sentence_log_prob(algorithm.generator, real).mean())
    for i in range(30):
        algorithm.step(Batch(real), i / 30)
    assert fraction() > 2 * before
    assert float(sentence_log_prob(algorithm.generator, real).mean()) > likelihood + 1


def test_settings_out_of_range():
    with pytest.raises(UserError, match="replace_every=0 is out of range"):
        settings.override(build("dgsan").config, {"replace_every": 0})
