"""Products of many shapes."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seqgen.functional import vocab_projection


@pytest.mark.skipif(not vocab_projection._has_onednn(), reason="torch has no oneDNN here")
def test_products_of_any_number_of_rows_have_few_shapes():
    """oneDNN keeps a kernel for each number of rows, and a batch whose sentences end has every number."""
    seen = set()

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.mkldnn._linear_pointwise.default:
                seen.add(len(args[0]))
            return func(*args, **(kwargs or {}))

    torch.manual_seed(0)
    right, bias = torch.randn(7, 5), torch.randn(7)
    for rows in range(1, 258):
        left = torch.randn(rows, 5)
        with Shapes():
            product = vocab_projection.matmul(left, right, bias)
        torch.testing.assert_close(product, F.linear(left, right, bias), rtol=1e-5, atol=1e-5)
    assert len(seen) <= 90


@pytest.mark.parametrize("narrow", [5, 4], ids=["narrow", "wide"])
def test_projections_are_logits_in_base_two(narrow, monkeypatch):
    torch.manual_seed(0)
    weight, bias, states = torch.randn(7, 5), torch.randn(7), torch.randn(13, 5)
    monkeypatch.setattr(vocab_projection, "NARROW", narrow)
    project = vocab_projection.projection(weight, bias, torch.float32, scale=0.5)
    places = []
    for rows in (3, 13, 2):
        log2_logits = project(states[:rows], rows == 2)
        expected = F.linear(states[:rows], weight, bias) * 0.5 * vocab_projection.LOG2E
        if rows == 2:
            expected -= expected.amax(dim=1, keepdim=True)
        torch.testing.assert_close(log2_logits, expected, rtol=1e-5, atol=1e-5)
        places.append(log2_logits.data_ptr())
    if narrow == 5:  # the buffer grew, and stays
        assert places[1] == places[2]
