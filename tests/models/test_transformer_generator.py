"""The Transformer: rotary positions, a layer against a plain loop, and its cache."""

import math

import pytest
import torch
from helpers import generator, sentences

from seqgen.models import transformer_generator
from seqgen.models.transformer_generator import TransformerGenerator

B, T, D = 3, 5, 6


def rotated(states, past):
    """Rotate states (T, D) of one head from position `past` on."""
    rotation = transformer_generator._rotation(past, states.shape[-2], D, states.device)
    return transformer_generator._rotate(states[:, None], rotation)[:, 0]


def test_rotation_by_hand():
    # two dimensions at position 3: an angle of 3 · 1, whatever the base
    given = torch.tensor([[1.0, 2.0]])
    angles = transformer_generator._rotation(3, 1, 2, given.device)
    found = transformer_generator._rotate(given[:, None], angles)[:, 0]
    wanted = [math.cos(3) - 2 * math.sin(3), math.sin(3) + 2 * math.cos(3)]
    assert found[0].tolist() == pytest.approx(wanted, rel=1e-5)
    # of four dimensions the second pair turns a hundred times slower: 10,000^(-2/4)
    cos, _ = transformer_generator._rotation(3, 1, 4, given.device)
    assert cos[0, 0].tolist() == pytest.approx([math.cos(3), math.cos(0.03)] * 2, rel=1e-5)


def test_scores_of_rotated_queries_and_keys_depend_on_the_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(1, D), torch.randn(1, D)
    score = lambda i, j: float(rotated(query, i) @ rotated(key, j).t())  # noqa: E731
    for shift in (1, 7, 31):
        assert score(5 + shift, 2 + shift) == pytest.approx(score(5, 2), abs=1e-5)
    assert score(5, 2) != pytest.approx(score(2, 5), abs=1e-3)
    assert score(5, 2) != pytest.approx(score(6, 2), abs=1e-3)
    assert float(rotated(query, 11).norm()) == pytest.approx(float(query.norm()), rel=1e-5)


def test_a_layer_is_a_plain_loop():
    net = generator("transformer", layers=1).eval()
    (layer,) = net.layers
    tokens = sentences(1, T)
    hidden = net.input(net.embedding.weight[tokens[0]])  # (T, H)
    query, key, value = layer.query_key_value(layer.attention_norm(hidden)).chunk(3, dim=-1)
    size = net.head_size
    wanted = []
    for t in range(T):
        heads = []
        for h in range(layer.heads):
            part = slice(h * size, (h + 1) * size)
            turn = lambda each, at: transformer_generator._rotate(  # noqa: E731
                each[None, None], transformer_generator._rotation(at, 1, size, each.device)
            )[0, 0]
            scores = torch.stack([turn(query[t, part], t) @ turn(key[s, part], s) for s in range(t + 1)])
            weights = torch.softmax(scores / math.sqrt(size), dim=0)
            heads.append(sum(weights[s] * value[s, part] for s in range(t + 1)))
        after = hidden[t] + layer.merge(torch.cat(heads))
        after = after + layer.feed_forward(layer.feed_forward_norm(after))
        wanted.append(net.norm(after))
    found, _ = net.hidden(tokens, net.initial(1))
    torch.testing.assert_close(found[0], torch.stack(wanted), rtol=1e-4, atol=1e-5)


def test_the_cache_grows_by_a_position_a_token():
    net = generator("transformer")
    state = net.initial(B)
    assert [part.shape for part in state] == [(B, 0, 12)] * 4
    _, state = net.hidden(sentences(B, T), state)
    assert [part.shape for part in state] == [(B, T, 12)] * 4


def test_two_prefixes_that_differ_in_order_differ():
    net = generator("transformer").eval()
    one, other = torch.tensor([[5, 6, 7]]), torch.tensor([[6, 5, 7]])
    found = [net.hidden(tokens, net.initial(1))[0][0, -1] for tokens in (one, other)]
    assert not torch.allclose(*found, atol=1e-4)


def test_dropout_only_in_training():
    net = generator("transformer", dropout=0.5).train()
    tokens = sentences(B, T)
    assert isinstance(net, TransformerGenerator)
    assert not torch.equal(net(tokens, net.initial(B))[0], net(tokens, net.initial(B))[0])
    net.eval()
    assert torch.equal(net(tokens, net.initial(B))[0], net(tokens, net.initial(B))[0])
