import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.functional.max_over_time import max_over_time, max_within

ROWS, CHANNELS, TIME, FILTERS, WIDTH = 5, 2, 11, 7, 3


def arguments(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = (ROWS, CHANNELS, TIME), (FILTERS, CHANNELS, WIDTH), (FILTERS,)
    return tuple(torch.randn(shape, generator=rng).requires_grad_() for shape in shapes)  # type: ignore[return-value]


def test_by_hand() -> None:
    # The filter (1, 2) reads 1·3 + 2·1 = 5, 1·1 + 2·4 = 9 and 1·4 + 2·0 = 4; bias 10.
    inputs = torch.tensor([[[3.0, 1.0, 4.0, 0.0]]], requires_grad=True)
    weight, bias = torch.tensor([[[1.0, 2.0]]], requires_grad=True), torch.tensor([10.0], requires_grad=True)
    found = max_over_time(inputs, weight, bias)
    assert found.tolist() == [[19.0]]
    (5 * found).sum().backward()
    gradients = [each.grad.tolist() for each in (inputs, weight, bias) if each.grad is not None]
    assert gradients == [[[[0.0, 5.0, 10.0, 0.0]]], [[[5.0, 20.0]]], [5.0]]


def test_equals_the_convolution_and_its_gradients() -> None:
    wanted_gradient = torch.randn(ROWS, FILTERS, generator=torch.Generator().manual_seed(1))
    ours, theirs = arguments(), arguments()
    found, wanted = max_over_time(*ours), F.conv1d(*theirs).amax(dim=2)
    assert torch.allclose(found, wanted, atol=1e-6)
    for maxima in (found, wanted):
        maxima.backward(wanted_gradient)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


def test_of_equal_maxima_the_first_has_the_gradient() -> None:
    inputs = torch.ones(1, 1, 4, requires_grad=True)
    max_over_time(inputs, torch.ones(1, 1, 2), torch.zeros(1)).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [[[1.0, 1.0, 0.0, 0.0]]]


def test_reads_and_returns_float32_within_autocast() -> None:
    inputs, weight, bias = arguments()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = max_over_time(inputs.bfloat16(), weight, bias)
    found.sum().backward()
    assert found.dtype == torch.float32
    assert torch.allclose(found, F.conv1d(inputs.bfloat16().float(), weight, bias).amax(dim=2), atol=1e-6)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    inputs, weight, bias = arguments()
    maxima = max_over_time(inputs, weight, bias).square().sum()
    (gradient,) = torch.autograd.grad(maxima, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.cuda
def test_equals_the_cpu_on_cuda() -> None:
    ours, theirs = arguments(), [each.detach().cuda().requires_grad_() for each in arguments()]
    found, there = max_over_time(*ours), max_over_time(*theirs)
    assert torch.allclose(found, there.cpu(), atol=1e-4)
    found.sum().backward()
    there.sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad.cpu(), atol=1e-3)


LENGTHS = torch.tensor([3, 11, 1, 7, 5])


def sentences() -> tuple[Tensor, Tensor]:
    """Inputs (B, T, E), 0 behind a sentence, and a weight (F, E, W)."""
    inputs, weight, _ = (each.detach() for each in arguments())
    is_real = torch.arange(TIME) < LENGTHS[:, None]
    return (inputs.transpose(1, 2) * is_real[..., None]).requires_grad_(), weight.requires_grad_()


def test_within_equals_the_convolution_of_each_sentence_and_its_gradients() -> None:
    wanted_gradient = torch.randn(ROWS, FILTERS, generator=torch.Generator().manual_seed(1))
    ours, theirs = sentences(), sentences()
    rows = [
        F.conv1d(row[None, : max(int(length), WIDTH)].transpose(1, 2), theirs[1]).amax(dim=2)
        for row, length in zip(theirs[0], LENGTHS, strict=True)
    ]
    found, wanted = max_within(ours[0], LENGTHS, ours[1]), torch.cat(rows)
    assert torch.allclose(found, wanted, atol=1e-6)
    for maxima in (found, wanted):
        maxima.backward(wanted_gradient)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


def test_within_has_all_lengths_of_one_window() -> None:
    inputs = torch.tensor([[[2.0], [3.0], [0.0]], [[5.0], [0.0], [0.0]]])
    # The filter (1, 10, 100) has one window in three tokens: 2 + 30 and 5.
    assert max_within(inputs, torch.tensor([2, 1]), torch.tensor([[[1.0, 10.0, 100.0]]])).tolist() == [
        [32],
        [5],
    ]
