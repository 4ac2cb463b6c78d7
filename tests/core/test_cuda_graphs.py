"""CUDA graphs of loops that generate; without CUDA the functions are called as they are."""

import copy
import itertools

import pytest
import torch
from helpers import GENERATOR_KINDS, generator
from torch import nn

from seqgen.core import cuda_graphs
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import sample
from seqgen.models.discriminator import RNNDiscriminator

B, T, V = 5, 7, 13


def test_without_cuda_a_function_is_called_as_it_is():
    calls = []
    given = torch.ones(3)
    for _ in range(3):
        (out,) = cuda_graphs.replay(
            lambda x: calls.append(x) or (x + 1,), (given,), modules=(nn.Linear(2, 3),), key="add"
        )
    assert len(calls) == 3
    assert all(each is given for each in calls)
    assert out.tolist() == [2.0] * 3


@pytest.mark.cuda
def test_a_graph_reads_new_inputs_and_weights_and_its_outputs_last():
    layer = nn.Linear(5, 3).cuda()
    calls = []

    def function(x):
        calls.append(1)
        return (layer(x),)

    outputs = []
    with torch.no_grad():
        for i in range(4):
            given = torch.full((2, 5), float(i), device="cuda")
            if i == 3:
                layer.weight.mul_(2)
            (out,) = cuda_graphs.replay(function, (given,), modules=(layer,), key="layer")
            outputs.append((out, layer(given)))
    assert len(calls) == 2  # as it is, then while it was recorded
    for out, expected in outputs:
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_the_oldest_graphs_go_first():
    layer = nn.Linear(5, 3).cuda()
    for i in range(cuda_graphs.MOST_GRAPHS + 3):
        for _ in range(2):
            cuda_graphs.replay(
                lambda x, i=i: (x + i,), (torch.zeros(2, device="cuda"),), modules=(layer,), key=i
            )
    kept = [key[0] for key in cuda_graphs._graphs[layer]]
    assert kept == list(range(3, cuda_graphs.MOST_GRAPHS + 3))


@pytest.mark.cuda
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
@pytest.mark.parametrize("bf16", [False, True])
def test_samples_by_a_graph_are_those_without(kind, bf16, monkeypatch):
    policy = generator(kind).cuda()
    prompts = [torch.randint(4, V, (B, 2), device="cuda") for _ in range(4)]

    def greedy(prompt):
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            return sample(policy, B, T, prompt=prompt, temperature=0.0).tokens

    by_graph = [greedy(prompt) for prompt in prompts]
    monkeypatch.setattr(cuda_graphs, "_failures", ["off"])
    for found, prompt in zip(by_graph, prompts, strict=True):
        assert torch.equal(found, greedy(prompt))


@pytest.mark.cuda
def test_draws_by_a_graph_are_new_each_time_and_follow_the_seed():
    policy = generator("rnn").cuda()
    drawn = [sample(policy, 50, T).tokens for _ in range(5)]
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(drawn))
    twice = []
    for _ in range(2):
        torch.manual_seed(11)
        twice.append([sample(policy, 50, T).tokens for _ in range(2)])
    assert all(torch.equal(one, other) for one, other in zip(*twice, strict=True))
    assert not torch.equal(*twice[0])


@pytest.mark.cuda
def test_a_graph_follows_an_optimiser_and_a_copy_has_its_own():
    policy = generator("rnn").cuda()
    for _ in range(3):
        sample(policy, B, T, temperature=0.0)
    with torch.no_grad():
        policy.head.offset[7] = 50.0
    assert (sample(policy, B, T, temperature=0.0).tokens == 7).all()
    other = copy.deepcopy(policy)
    with torch.no_grad():
        other.head.offset[9] = 90.0
    for _ in range(3):
        assert (sample(other, B, T, temperature=0.0).tokens == 9).all()
    assert (sample(policy, B, T, temperature=0.0).tokens == 7).all()


@pytest.mark.cuda
@pytest.mark.parametrize("bidirectional", [False, True])
def test_rollouts_by_a_graph_are_those_without(bidirectional, monkeypatch):
    policy = generator("rnn").cuda()
    reward = RNNDiscriminator(V, 3, 5, bidirectional=bidirectional).cuda().eval()
    tokens = [torch.randint(4, V, (B, T), device="cuda") for _ in range(4)]
    found = [rollout_rewards(policy, each, reward, 3, temperature=0.0) for each in tokens]
    monkeypatch.setattr(cuda_graphs, "_failures", ["off"])
    for each, rewards in zip(tokens, found, strict=True):
        expected = rollout_rewards(policy, each, reward, 3, temperature=0.0)
        torch.testing.assert_close(rewards, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda
def test_what_cannot_be_recorded_runs_as_it_is_with_one_warning(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_failures", [])
    layer = nn.Linear(5, 3).cuda()

    def waits(x):
        return (x + float(x.sum()),)

    given = torch.ones(2, device="cuda")
    results = []
    with pytest.warns(UserWarning, match="CUDA graphs are off, which is slower"):
        results += [cuda_graphs.replay(waits, (given,), modules=(layer,), key="waits")[0] for _ in range(4)]
    assert all(each.tolist() == [3.0, 3.0] for each in results)
    assert torch.rand(3, device="cuda").isfinite().all()  # random numbers go on
