"""LeakGAN's generator: goals and their gate by hand, reading by pieces, what passes a gradient."""

import pytest
import torch
from helpers import GENERATOR_KINDS, V, generator, sentences

from seqgen.data.tokenizer import BOS
from seqgen.generation.sample import sample, sentence_log_prob, shifted
from seqgen.models.discriminator import RNNDiscriminator
from seqgen.models.leaked_generator import GoalGate, LeakedGenerator, Manager
from seqgen.models.prefix_cnn import PrefixCNNDiscriminator


def leaked(kind="rnn", *, reader=None, **options):
    worker = generator(kind, **options)
    reader = reader or PrefixCNNDiscriminator(V, 3, scale=0.02)
    features, hidden = reader.output.in_features, worker.head.weight.shape[1]
    gate = GoalGate(features, 2, hidden, horizon=3)
    with torch.no_grad():
        gate.factors.weight.normal_()
    return LeakedGenerator(worker, reader, Manager(features, 7), gate).eval()


def test_the_gate_by_hand():
    gate = GoalGate(2, 1, 3, horizon=2)
    goals = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    with torch.no_grad():
        gate.embedding.weight.copy_(torch.tensor([[2.0, 5.0]]))
        factors, recent = gate(goals, *gate.initial(1))
        assert factors.tolist() == [[[1.0] * 3] * 3]  # U is 0 at first
        assert recent.tolist() == [[[-1.0, 0.0]]]
        gate.factors.weight.copy_(torch.tensor([[1.0], [0.0], [-1.0]]))
        # sums of two goals: (1, 0), (1, 1), (-1, 1), embedded as 2, 7, 3
        wanted = [[[3.0, 1.0, -1.0], [8.0, 1.0, -6.0], [4.0, 1.0, -2.0]]]
        assert gate(goals, *gate.initial(1))[0].tolist() == wanted
        assert gate(goals[:, 2:], goals[:, 1:2])[0].tolist() == [wanted[0][2:]]


def test_goals_have_length_1():
    manager = Manager(5, 7)
    goals, _ = manager(torch.randn(3, 2, 5), manager.initial(3))
    torch.testing.assert_close(goals.norm(dim=-1), torch.ones(3, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
@pytest.mark.parametrize("reader", [None, RNNDiscriminator(V, 3, 5)])
def test_reading_by_pieces_equals_reading_at_once(kind, reader):
    policy, tokens = leaked(kind, reader=reader), sentences()
    whole, _ = policy.hidden(shifted(tokens), policy.initial(6))
    plain, _ = policy.worker.hidden(shifted(tokens), policy.worker.initial(6))
    assert (whole - plain).abs().max() > 0.01  # the goals matter
    state, pieces = policy.initial(6), []
    for piece in shifted(tokens).split([1, 2, 1, 3], dim=1):
        hidden, state = policy.hidden(piece, state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_samples_have_the_likelihood_they_were_drawn_with():
    policy = leaked()
    drawn = sample(policy, 17, 7, rng=torch.Generator().manual_seed(3))
    found = sentence_log_prob(policy, drawn.tokens)
    torch.testing.assert_close(drawn.log_probs.double().sum(dim=1), found, rtol=1e-4, atol=1e-4)
    prompted = sample(policy, 5, 7, prompt=torch.tensor([4, 9])).tokens
    assert prompted[:, :2].tolist() == [[4, 9]] * 5


def test_features_are_those_of_the_prefixes():
    policy, tokens = leaked(), sentences()
    features = policy.leak(tokens)
    begun = torch.cat((torch.full((6, 1), BOS), tokens[:, :4]), dim=1)
    read, _ = policy.reader.read(begun, policy.reader.initial(6))
    torch.testing.assert_close(features[:, :5], read, rtol=1e-5, atol=1e-6)
    assert features.shape == (6, 8, policy.reader.output.in_features)


def test_the_policys_gradient_reaches_worker_and_gate_alone():
    policy = leaked(dropout=0.5).train()
    with policy.without_dropout():
        one, _ = policy.hidden(shifted(sentences()), policy.initial(6))
        two, _ = policy.hidden(shifted(sentences()), policy.initial(6))
    assert torch.equal(one, two)
    policy.head(one).square().sum().backward()
    reached = {name.split(".")[0] for name, p in policy.named_parameters() if p.grad is not None}
    assert reached == {"head", "worker", "gate"}
    assert (one != 0).all()
    assert (policy.hidden(shifted(sentences()), policy.initial(6))[0] == 0).any()  # what the head reads


def test_it_reads_tokens_not_embeddings():
    with pytest.raises(TypeError, match="reads tokens, not embeddings"):
        leaked().read(torch.zeros(1, 1, 5), ())
