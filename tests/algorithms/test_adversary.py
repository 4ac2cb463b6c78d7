"""Generator and discriminator in turn: who learns when, where they start, and what the discriminator sees."""

import math

import pytest
import torch
from helpers import GENERATOR_KINDS, batch, build, generator, same, sentences

from seqgen.algorithms.tuned_generator import without_unknown
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional.gan_losses import cross_entropy


def test_the_discriminator_learns_alone_first():
    algorithm = build("seqgan", {"discriminator_pretraining_steps": 1})
    assert algorithm.step(batch(), 0.0).keys() == {"d_loss", "d_accuracy"}
    assert algorithm.step(batch(), 0.5).keys() >= {"d_loss", "d_accuracy", "reward", "nll"}


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_it_starts_from_a_generator_and_so_does_its_discriminator(kind):
    start = build("mle", {"generator.kind": kind}, seed=3)
    algorithm = build("seqgan", {"generator.kind": kind})
    algorithm.start_from(start)
    assert same(algorithm.generator, start.generator)
    assert same(algorithm.average, start.generator)
    given = start.generator.state_dict()
    layers = getattr(algorithm.discriminator, "trunk", algorithm.discriminator)
    taken = {
        name for name, each in layers.named_parameters() if name in given and torch.equal(each, given[name])
    }
    assert taken == {name for name, _ in layers.named_parameters() if name in given}
    assert {name for name in given if not name.startswith("head.")} <= taken


def test_unknown_words_take_no_part():
    algorithm = build("seqgan", {"discriminator_pretraining_steps": 0})
    seen = []
    read = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or read(tokens)
    real = sentences(31)
    real[:17, 0] = UNK
    algorithm.step(Batch(real[:6]), 0.0)  # every real row has one: they are kept rather than none
    seen.clear()
    algorithm.step(Batch(real[17:23]), 0.0)
    assert seen
    assert not any((tokens == UNK).any() for tokens in seen)
    algorithm.discriminator_step(real, algorithm.generate(31))
    assert len(seen[-1]) == 31 - 17 + 31
    assert torch.equal(without_unknown(real), real[17:])


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_without_dropout_there_are_gradients_and_the_mode_comes_back(kind):
    more = {"layers": 2} if kind == "rnn" else {}
    net, tokens = generator(kind, dropout=0.5, **more).train(), sentences()
    with net.without_dropout():
        one, _ = net.hidden(tokens, net.initial(6))
        two, _ = net.hidden(tokens, net.initial(6))
        assert one.requires_grad
    assert torch.equal(one, two)
    assert all(module.training for module in net.modules())
    if kind == "rnn":
        assert net.rnn.dropout == 0.5
    three, _ = net.hidden(tokens, net.initial(6))
    assert not torch.equal(one, three)


@pytest.mark.parametrize("loss", ["cross_entropy", "least_squares"])
def test_the_discriminators_loss_by_hand(loss):
    algorithm = build("seqgan", {"discriminator.loss": loss})
    real, fake = sentences(2), sentences(3, seed=2)
    logits = torch.tensor([0.0, 2.0, 0.0, -1.0, 1.0])  # of the real ones, then of the others
    algorithm.discriminator.forward = lambda tokens: logits[: len(tokens)]
    found, metrics = algorithm.discriminator_loss(real, fake)
    if loss == "cross_entropy":
        # -log σ of 0 and 2; -log(1 - σ) of 0, -1 and 1
        on_real = (math.log(2) + math.log(1 + math.exp(-2))) / 2
        on_fake = (math.log(2) + math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 3
        accuracy = (1 / 2 + 1 / 3) / 2  # 2 of 0 and 2 above 0; -1 below it
    else:
        on_real, on_fake = (1 + 1) / 2, (0 + 1 + 1) / 3
        accuracy = (1 / 2 + 2 / 3) / 2  # the threshold is one half
    assert found.item() == pytest.approx((on_real + on_fake) / 2, rel=1e-5)
    assert float(metrics["d_accuracy"]) == pytest.approx(accuracy)


def test_a_cnns_penalty_is_added():
    algorithm = build("seqgan", {"discriminator.kind": "cnn", "discriminator.filters": 0.02}).eval()
    real, fake = sentences(2), sentences(3, seed=2)
    net = algorithm.discriminator
    bare = cross_entropy(net(real), net(fake))
    found, _ = algorithm.discriminator_loss(real, fake)
    assert float(net.penalty().detach()) > 0
    assert found.item() == pytest.approx((bare + net.penalty()).item(), rel=1e-5)
