"""The draw that never writes logits, on a GPU or in Triton's interpreter, against softmax."""

import math
import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from seqgen.generation import triton_draw

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N = 31


def parts(vocab_size, hidden, rows=5, dtype=torch.float32):
    rng = torch.Generator().manual_seed(vocab_size)
    states, weight = (torch.randn(n, hidden, generator=rng) for n in (rows, vocab_size))
    bias = torch.randn(vocab_size, generator=rng)
    bias[3] = -math.inf
    bias[128 : 2 * 128] = -math.inf  # a tile as a whole
    uniform = torch.rand(rows, N, generator=rng)
    return [part.to(DEVICE) for part in (states.to(dtype), weight.to(dtype), bias, uniform)]


@pytest.mark.parametrize(("vocab_size", "hidden"), [(13, 5), (300, 37), (1009, 67)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_invert_the_cdf_and_log_probs_are_the_softmaxs(vocab_size, hidden, dtype):
    states, weight, bias, uniform = parts(vocab_size, hidden, dtype=dtype)
    tokens, log_probs = triton_draw.draw(states, weight, bias, uniform, 1 / 0.7)
    expected = torch.log_softmax((states.double() @ weight.double().t() + bias) / 0.7, dim=-1)
    torch.testing.assert_close(log_probs.double(), expected.gather(1, tokens), rtol=0, atol=1e-4)
    inverted = torch.searchsorted(expected.exp().cumsum(dim=1), uniform.double())
    assert (
        tokens == inverted
    ).double().mean() > 0.999  # a uniform number next to a bound may fall either way
    assert not (tokens == 3).any()


def test_frequencies_are_the_softmax():
    states, weight, bias, _ = parts(13, 5, rows=1)
    draws = 50 * N
    uniform = torch.rand(1, draws, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    tokens, _ = triton_draw.draw(states / 3, weight, bias, uniform, 1.0)
    probs = torch.softmax(states[0].double() / 3 @ weight.double().t() + bias, dim=-1)
    possible = probs > 0
    counts = torch.bincount(tokens[0], minlength=13).double()
    assert counts[~possible].sum() == 0
    statistic = ((counts - draws * probs).square() / (draws * probs))[possible].sum().item()
    freedom = int(possible.sum()) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_the_extremes_of_the_uniform_numbers_are_likely_tokens():
    states, weight, bias, uniform = parts(300, 37)
    for number in (0.0, 1 - 2.0**-24):
        tokens, log_probs = triton_draw.draw(
            states, weight, bias, torch.full_like(uniform[:, :3], number), 1.0
        )
        assert bias[tokens].isfinite().all()
        assert log_probs.isfinite().all()


def test_no_rows_draw_nothing():
    states, weight, bias, uniform = parts(13, 5)
    tokens, log_probs = triton_draw.draw(states[:0], weight, bias, uniform[:0], 1.0)
    assert tokens.shape == log_probs.shape == (0, N)
