"""The value head: what a sentence is expected to earn, read from the generator's hidden states."""

from torch import Tensor, nn


class ValueHead(nn.Module):
    """Predict the return from each position on, as a baseline; a linear map of the hidden state.

    It starts at 0 everywhere, and does not pass gradients on: the generator is trained by its reward only.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the generator's head reads at each position (B, T, H) → expected returns (B, T)."""
        return self.output(hidden.detach()).squeeze(-1)
