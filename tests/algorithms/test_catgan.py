"""CatGAN: which child goes on and with what state, fitness by hand, and pairs of one label."""

import copy

import pytest
import torch
from helpers import batch, build, sentences

from seqgen.algorithms import catgan
from seqgen.algorithms.catgan import COURSES, State
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation.condition import Condition

LABELS = Condition((11, 12), (1.0, 1.0))


def weights(algorithm):
    return [each.detach().clone() for each in algorithm.generator.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_courses_of_the_temperature():
    assert COURSES["exponential"](81.0, 0.0) == COURSES["linear"](81.0, 0.0) == 1
    assert COURSES["exponential"](81.0, 0.5) == pytest.approx(9)
    assert COURSES["linear"](81.0, 0.5) == pytest.approx(41)


@pytest.mark.parametrize("fittest", range(4))
def test_the_fittest_child_goes_on_with_its_weights_and_moments(fittest, monkeypatch):
    algorithm = build("catgan", {"generator.layers": 2})
    optimizer = algorithm.optimizers["generator"]
    children = []

    def fitness(self, real):
        children.append((weights(self), copy.deepcopy(optimizer.state_dict()["state"])))
        return torch.tensor(1.0 if len(children) - 1 == fittest else 0.0)

    monkeypatch.setattr(catgan.CatGAN, "fitness", fitness)
    before = weights(algorithm)
    metrics = algorithm.generator_step(batch(10), 0.5, sentences())
    assert len(children) == 4
    assert not any(same(one[0], other[0]) for i, one in enumerate(children) for other in children[:i])
    assert all(not same(child[0], before) for child in children)
    assert same(weights(algorithm), children[fittest][0])
    for index, moments in children[fittest][1].items():
        found = optimizer.state_dict()["state"][index]
        assert all(torch.equal(found[name], value) for name, value in moments.items())
    assert (float(metrics["average"]), float(metrics["linear"])) == divmod(fittest, 2)
    assert float(metrics["tau"]) == pytest.approx(
        1 / COURSES[("exponential", "linear")[fittest % 2]](100.0, 0.5)
    )


def test_all_children_come_of_the_same_parent():
    """Put back, a state is what it was: with the same draws two children by one objective are equal."""
    algorithm = build("catgan", {"generator.layers": 2})
    optimizer, real = algorithm.optimizers["generator"], sentences()
    algorithm.generator_step(Batch(real), 0.1, real)  # so that there are moments
    parent, found = State.of(optimizer), []
    for _ in range(2):
        parent.put_back(optimizer)
        torch.manual_seed(7)
        algorithm._learn("relativistic", real, 0.5)
        found.append(weights(algorithm))
    assert same(*found)


def test_fitness_is_how_real_sentences_look_and_how_diverse_they_are(monkeypatch):
    algorithm = build("catgan", {"diversity": 0.5})
    drawn = type("Drawn", (), {})()
    drawn.tokens, drawn.log_probs = (
        torch.tensor([[4, EOS], [5, EOS]]),
        torch.tensor([[-1.0, -2.0], [-3.0, 0.0]]),
    )
    monkeypatch.setattr(type(algorithm), "sample", lambda self, n, **how: drawn)
    monkeypatch.setattr(catgan, "scores", lambda net, tokens: tokens[:, 0].float())
    real = torch.tensor([[6, EOS], [7, EOS], [8, EOS]])
    assert float(algorithm.fitness(real)) == pytest.approx((4 + 5) / 2 - (6 + 7 + 8) / 3 + 0.5 * (3 + 3) / 2)


def test_real_sentences_are_compared_with_those_of_their_label():
    algorithm = build("catgan")
    algorithm.condition = LABELS
    seen = []
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or tokens[:, 1].float()
    real = torch.tensor([[12, 4, EOS], [11, 5, EOS], [12, 6, EOS]])
    fake = torch.tensor([[11, 7, EOS], [12, 8, EOS], [12, 9, EOS]])
    algorithm.discriminator_loss(real, fake)
    assert [each[:, 0].tolist() for each in seen] == [[11, 12, 12]] * 2
    assert seen[0][:, 1].tolist() == [5, 4, 6]


def test_generated_sentences_have_the_labels_of_the_real_ones():
    algorithm = build("catgan")
    algorithm.condition = LABELS
    real = torch.tensor([[12, 4, EOS], [11, 5, EOS], [12, 6, PAD]])
    assert algorithm.fakes(real)[:, 0].tolist() == [12, 11, 12]
    seen = []
    forward = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or forward(tokens)
    algorithm._learn("relativistic_average", real, 0.5)
    soft = seen[1]
    assert soft[:, 0].argmax(dim=1).tolist() == [12, 11, 12]
    assert (soft[:, 1:, 11:] < 1e-6).all()  # no label within a sentence
