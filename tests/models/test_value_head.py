import torch

from seqgen.models.value_head import ValueHead

B, T, H = 3, 5, 7


def test_starts_at_zero_and_is_linear_in_the_hidden_state():
    torch.manual_seed(0)
    head, hidden = ValueHead(H), torch.randn(B, T, H)
    assert torch.equal(head(hidden), torch.zeros(B, T))
    with torch.no_grad():
        head.output.weight.copy_(torch.arange(7.0)[None])
        head.output.bias.fill_(-2.0)
    expected = (hidden * torch.arange(7.0)).sum(dim=-1) - 2
    torch.testing.assert_close(head(hidden), expected, rtol=1e-5, atol=1e-5)


def test_learns_without_touching_the_generator():
    torch.manual_seed(0)
    head, hidden = ValueHead(H), torch.randn(B, T, H, requires_grad=True)
    head(hidden).sum().backward()
    assert hidden.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
