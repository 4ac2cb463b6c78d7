"""The reader of every token: parity with torch's bidirectional layers, padding, several versions."""

import pytest
import torch
from helpers import V, padded, sentences
from torch import nn

from seqgen.models.token_reader import TokenReader


def reader(cell="gru", **options):
    torch.manual_seed(0)
    return TokenReader(V, 5, 7, 3, cell=cell, dropout=0.0, **options)


@pytest.mark.parametrize(("cell", "kind"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_it_is_a_bidirectional_layer_and_a_linear_map(cell, kind):
    net, tokens = reader(cell), torch.tensor([[4, 9, 6, 5], [8, 8, 7, 4]])
    layer = kind(5, 7, batch_first=True, bidirectional=True)
    weights = dict(net.rnn.named_parameters())
    weights |= {f"{name}_reverse": part for name, part in net.backwards.named_parameters()}
    layer.load_state_dict(weights)
    expected = net.output(layer(net.embedding(tokens))[0])
    torch.testing.assert_close(net(tokens), expected, rtol=1e-5, atol=1e-6)


def test_padding_is_irrelevant_and_each_token_knows_all_of_its_sentence():
    net, tokens = reader(), sentences()
    found = net(tokens)
    assert found.shape == (6, 7, 3)
    real = tokens != 0
    torch.testing.assert_close(net(padded(tokens))[:, :7][real], found[real], rtol=1e-5, atol=1e-6)
    row, end = 0, int(real[0].sum())
    for place in (0, end - 1):
        changed = tokens[row : row + 1].clone()
        changed[0, place] = 4 if changed[0, place] != 4 else 5
        assert ((net(changed)[0, :end] - found[row, :end]).abs().amax(dim=1) > 1e-6).all()


def test_versions_are_added_up():
    net = reader()
    one, two = torch.tensor([[4, 5]]), torch.tensor([[6, 7]])
    torch.testing.assert_close(net(one, two), net(two, one), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        net.embedding.weight[8] = net.embedding.weight[4] + net.embedding.weight[6]
        net.embedding.weight[9] = net.embedding.weight[5] + net.embedding.weight[7]
    torch.testing.assert_close(net(one, two), net(torch.tensor([[8, 9]])), rtol=1e-5, atol=1e-6)
