import pytest
import torch
from torch import Tensor, nn

from seqgen.functional.gru import can_read, gru

LENGTHS = torch.tensor([3, 7, 1, 7, 5])
TIME, SIZE, HIDDEN = 11, 2, 3


def layer() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(SIZE, HIDDEN, batch_first=True)


def real() -> Tensor:
    return (torch.arange(TIME) < LENGTHS[:, None])[..., None]


def test_equals_the_layer_and_its_gradients() -> None:
    rnn = layer()
    inputs = torch.randn(len(LENGTHS), TIME, SIZE, requires_grad=True)
    outer = torch.randn(len(LENGTHS), TIME, HIDDEN)
    found, wanted = gru(rnn, inputs, LENGTHS), rnn(inputs)[0] * real()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    leaves = [inputs, *rnn.parameters()]
    ours, theirs = (torch.autograd.grad((each * outer).sum(), leaves) for each in (found, wanted))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_padding_is_not_read() -> None:
    rnn, inputs = layer(), torch.randn(len(LENGTHS), TIME, SIZE)
    changed = inputs.where(real(), torch.tensor(torch.nan))
    assert torch.equal(gru(rnn, inputs, LENGTHS), gru(rnn, changed, LENGTHS))


def test_by_hand() -> None:
    # All weights 0 but the input's to n, 1: r = z = 1/2, h1 = tanh(2) / 2, h2 = tanh(-1) / 2 + h1 / 2.
    rnn = nn.GRU(1, 1, batch_first=True)
    with torch.no_grad():
        for each in rnn.parameters():
            each.zero_()
        rnn.weight_ih_l0[2] = 1.0
    inputs = torch.tensor([[[2.0], [-1.0], [9.0]]])
    states = gru(rnn, inputs, torch.tensor([2]))[0, :, 0]
    assert states.tolist() == pytest.approx([0.4820138, -0.1397902, 0.0], abs=1e-6)


def test_reads_what_it_is_equal_for() -> None:
    inputs = torch.zeros(2, 3, SIZE)
    assert can_read(layer(), inputs)
    assert not can_read(nn.LSTM(SIZE, HIDDEN), inputs)
    assert not can_read(nn.GRU(SIZE, HIDDEN, num_layers=2), inputs)
    assert not can_read(layer(), inputs.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_read(layer(), inputs)
    with torch.no_grad():
        assert not can_read(layer(), inputs)
