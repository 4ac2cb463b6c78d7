"""The encoder: a sentence to a latent vector, or to the mean and log variance of a Gaussian."""

from typing import Literal

import torch
from torch import Tensor, nn

from seqgen.functional.dropout import Dropout
from seqgen.models.discriminator import embed, last_states, real_positions, reverse, states_of
from seqgen.models.recurrent_layers import CELLS

Pooling = Literal["last", "mean", "max"]


def pooled_states(
    rnn: nn.RNNBase, backwards: nn.RNNBase | None, embedded: Tensor, lengths: Tensor, pooling: Pooling
) -> Tensor:
    """Return one vector of the states at a sentence's real tokens: the last, their mean or their maximum.

    embedded (B, T, E), lengths (B,) at least 1 → (B, H), or (B, 2 H) where there are layers that read
    backwards, whose last state is that at the first token.
    """
    if pooling == "last":
        return last_states(rnn, backwards, embedded, lengths)
    parts = [states_of(rnn, embedded, lengths)]
    if backwards is not None:
        # The order is no matter to mean and maximum.
        parts.append(states_of(backwards, reverse(embedded, lengths), lengths))
    states = torch.cat(parts, dim=2)
    is_real = (torch.arange(embedded.shape[1], device=embedded.device) < lengths[:, None])[..., None]
    if pooling == "max":
        return states.masked_fill(~is_real, -torch.inf).amax(dim=1)
    return (states * is_real).sum(dim=1) / lengths[:, None]


class RNNEncoder(nn.Module):
    """Recurrent encoder: embedding → bidirectional LSTM or GRU → its states pooled → mean and log variance.

    `pooling` takes the last state of either direction, or the mean or the maximum of all (Long et al. 2019,
    arXiv:1911.03976, who find that it keeps the posterior from collapsing). Padding changes nothing. Dropout
    is applied to the embeddings and to what the two outputs are made of.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        hidden: int = 32,
        latent_dim: int = 16,
        *,
        cell: str = "lstm",
        bidirectional: bool = True,
        pooling: Pooling = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.forwards = CELLS[cell](embedding, hidden, batch_first=True)
        self.backwards = CELLS[cell](embedding, hidden, batch_first=True) if bidirectional else None
        self.pooling = pooling
        self.dropout = Dropout(dropout)
        features = 2 * hidden if bidirectional else hidden
        self.mean = nn.Linear(features, latent_dim)
        self.log_var = nn.Linear(features, latent_dim)

    def features(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → (B, F), F = H or 2 H."""
        lengths = real_positions(tokens).sum(dim=1).clamp(min=1)
        embedded = self.dropout(embed(self.embedding, tokens))
        return self.dropout(pooled_states(self.forwards, self.backwards, embedded, lengths, self.pooling))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → mean (B, Z), log variance (B, Z)."""
        features = self.features(tokens)
        return self.mean(features), self.log_var(features)
