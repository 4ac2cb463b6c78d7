"""The CNN that reads prefixes: its features by hand, and reading by pieces."""

import pytest
import torch

from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.models.prefix_cnn import PrefixCNNDiscriminator

VOCAB, EMBEDDING = 11, 3
TOKENS = torch.tensor([[4, 5, 6, 7, EOS], [9, 8, EOS, PAD, PAD], [EOS, PAD, PAD, PAD, PAD]])


def cnn(**options):
    torch.manual_seed(0)
    return PrefixCNNDiscriminator(VOCAB, EMBEDDING, **options).eval()


def test_the_maxima_by_hand():
    net = PrefixCNNDiscriminator(VOCAB, 1, filters={1: 1, 2: 1}).eval()
    with torch.no_grad():
        net.embedding.weight.copy_(torch.arange(VOCAB)[:, None])
        one, two = net.convolutions
        one.weight.fill_(1.0), one.bias.fill_(-4.5)  # id - 4.5, not below 0
        (
            two.weight.copy_(torch.tensor([[[-1.0, 2.0]]])),
            two.bias.fill_(1.0),
        )  # twice the id less the one before
    net.highway = lambda strongest: strongest
    found, (recent, strongest) = net.read(torch.tensor([[5, 9, 4]]), net.initial(1))
    # width 1: 0.5, 4.5, 0; width 2, with a zero in front: 10 + 1, 18 - 5 + 1, 8 - 9 + 1
    assert found.tolist() == [[[0.5, 11.0], [4.5, 14.0], [4.5, 14.0]]]
    assert recent.tolist() == [[[4.0]]]
    assert strongest.tolist() == [[4.5, 14.0]]


def test_reading_by_pieces_equals_reading_at_once_and_a_prefix_is_a_sentence():
    net = cnn(scale=0.02)
    whole, end = net.read(TOKENS, net.initial(3))
    state, pieces = net.initial(3), []
    for piece in TOKENS.split([1, 1, 3], dim=1):
        features, state = net.read(piece, state)
        pieces.append(features)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-5, atol=1e-6)
    for part, expected in zip(state, end, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-6)
    for t in range(1, 6):
        torch.testing.assert_close(net.score(whole[:, t - 1]), net(TOKENS[:, :t]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nothing", [BOS, PAD])
def test_what_is_no_word_adds_nothing(nothing):
    net = cnn(scale=0.02)
    with torch.no_grad():
        for convolution in net.convolutions:
            convolution.bias.fill_(0.7)  # so that windows of zeros are strong
    features, _ = net.read(torch.tensor([[nothing]]), net.initial(1))
    assert torch.equal(features[0, 0], net.highway(torch.zeros(net.output.in_features)))
    after, state = net.read(TOKENS[:1], net.initial(1))
    more, _ = net.read(torch.full((1, 2), nothing), state)
    torch.testing.assert_close(more[0, -1], after[0, -1], rtol=1e-5, atol=1e-6)
