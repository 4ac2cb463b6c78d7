"""A convolutional discriminator that reads a sentence token by token: it has features after every prefix."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.tokenizer import BOS
from seqgen.models.discriminator import CNNDiscriminator, embed, real_positions
from seqgen.models.state import State


class PrefixCNNDiscriminator(CNNDiscriminator):
    """`CNNDiscriminator` with windows that end at a token: a `PrefixReader`, whose maxima run along.

    The features after a prefix are those of the prefix as a sentence of its own. BOS and PAD add nothing. The
    state is the last tokens' embeddings (B, W - 1, E), W the largest width, and each filter's largest
    activation so far (B, F). What differs from the other one: a window that is longer than what was read is
    filled with zeros in front.
    """

    reads_prefixes = True

    def initial(self, batch: int) -> State:
        """Return the state before any token: zeros, as an activation is never negative."""
        weight = self.embedding.weight
        recent = weight.new_zeros(batch, max(self.widths) - 1, weight.shape[1])
        return recent, weight.new_zeros(batch, self.output.in_features)

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T more tokens, ids (B, T) or soft one-hots (B, T, V); → features (B, T, F), State."""
        recent, strongest = state
        activations, recent = self._activations(tokens, recent)
        if tokens.shape[1] == 1:  # dozens of times faster than the running maximum of two
            running = torch.maximum(strongest[:, None], activations)
        else:
            running = torch.cat((strongest[:, None], activations), dim=1).cummax(dim=1).values[:, 1:]
        return self.highway(running), (recent, running[:, -1])

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → logits (B,) whatever the padding."""
        activations, _ = self._activations(tokens, self.initial(len(tokens))[0])
        return self.score(self.highway(activations.amax(dim=1)))

    def _activations(self, tokens: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Return each filter's activation for the window ending at each token (B, T, F), and `recent`."""
        ids = tokens.argmax(dim=-1) if tokens.is_floating_point() else tokens
        is_word = (real_positions(ids) & (ids != BOS))[..., None]
        seen = torch.cat((recent, embed(self.embedding, tokens) * is_word), dim=1)  # (B, W - 1 + T, E)
        first = max(self.widths) - 1
        windows = [
            _convolve(convolution, seen[:, first + 1 - width :])
            for convolution, width in zip(self.convolutions, self.widths, strict=True)
        ]
        return F.relu(torch.cat(windows, dim=2)) * is_word, seen[:, tokens.shape[1] :]


def _convolve(convolution: nn.Module, inputs: Tensor) -> Tensor:
    """Apply a convolution of width W along time; (B, W - 1 + T, E) → (B, T, filters).

    A single window is a product, which on the CPU takes a quarter of the time.
    """
    weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")  # (filters, E, W)
    if inputs.shape[1] == weight.shape[2]:
        return F.linear(inputs.flatten(1), weight.transpose(1, 2).flatten(1), bias)[:, None]
    return convolution(inputs.transpose(1, 2)).transpose(1, 2)
