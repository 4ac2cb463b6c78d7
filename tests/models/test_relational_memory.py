"""The relational memory: its first memory, its gates by hand, and a step against a plain loop."""

import math

import pytest
import torch
from helpers import generator, sentences

B, T, Z = 3, 5, 7


def test_the_first_memory_tells_slots_apart():
    net = generator("relational-memory", slots=2, heads=1, head_size=3)
    (memory,) = net.initial(B)
    assert memory.tolist() == [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]] * B
    wide = generator("relational-memory", slots=3, heads=1, head_size=2)  # more slots than a slot has numbers
    assert wide.initial(1)[0][0].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_a_latent_vector_is_added_to_the_first_memory():
    net = generator("relational-memory", slots=2, heads=1, head_size=3, latent_dim=Z)
    latents = torch.randn(B, Z, generator=torch.Generator().manual_seed(0))
    memory, kept = net.initial(B, latents)
    added = memory.flatten(1) - torch.tensor([1.0, 0, 0, 0, 1, 0])
    torch.testing.assert_close(added, net.from_latent(latents), rtol=1e-5, atol=1e-6)
    assert torch.equal(kept, latents)


def test_the_gates_by_hand():
    # One slot of two numbers, first (1, 0). All that is learned is 0 but the biases of the gates and of the
    # last layer norm, (½, -1), whose gain is 0: so tanh of that is what is written.
    net = generator("relational-memory", slots=1, heads=1, head_size=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.feed_forward_norm.bias.copy_(torch.tensor([0.5, -1.0]))
        net.input_gates.bias.copy_(torch.tensor([1.0, 2.0, -1.0, 3.0]))  # keep, keep, write, write
    found, _ = net.hidden(torch.tensor([[5]]), net.initial(1))

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    # the bias of what is kept is 1 higher: σ(1 + 1) · 1 + σ(-1) tanh ½; σ(2 + 1) · 0 + σ(3) tanh -1
    wanted = [sigmoid(2) + sigmoid(-1) * math.tanh(0.5), sigmoid(3) * math.tanh(-1)]
    assert found[0, 0].tolist() == pytest.approx(wanted, rel=1e-5)
    with torch.no_grad():
        net.memory_gates.weight[2, 0] = 2.0  # the first number of the memory opens the first gate of writing
    found, _ = net.hidden(torch.tensor([[5]]), net.initial(1))
    opened = sigmoid(2) + sigmoid(-1 + 2 * math.tanh(1.0)) * math.tanh(0.5)
    assert found[0, 0, 0].item() == pytest.approx(opened, rel=1e-5)


def test_reading_is_a_plain_loop():
    net = generator("relational-memory", slots=2, heads=2, head_size=3).eval()
    tokens = sentences(1, T)
    (memory,) = net.initial(1)
    memory = memory[0]  # (M, S)
    wanted = []
    for token in tokens[0]:
        given = net.input(net.embedding.weight[token])
        seen = torch.cat((memory, given[None]))
        query, (key, value) = net.query(memory), net.key_value(seen).chunk(2, dim=-1)
        rows = []
        for slot in range(2):
            heads = []
            for h in range(2):
                part = slice(3 * h, 3 * h + 3)
                weights = torch.softmax(key[:, part] @ query[slot, part] / math.sqrt(3), dim=0)
                heads.append(weights @ value[:, part])
            proposed = net.attention_norm(memory[slot] + torch.cat(heads))
            proposed = net.feed_forward_norm(proposed + net.feed_forward(proposed))
            gates = net.input_gates(given) + net.memory_gates(torch.tanh(memory[slot]))
            keep, write = torch.sigmoid(gates[:6] + 1.0), torch.sigmoid(gates[6:])
            rows.append(keep * memory[slot] + write * torch.tanh(proposed))
        memory = torch.stack(rows)
        wanted.append(memory.flatten())
    found, (last,) = net.hidden(tokens, net.initial(1))
    torch.testing.assert_close(found[0], torch.stack(wanted), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last[0], memory, rtol=1e-4, atol=1e-5)
