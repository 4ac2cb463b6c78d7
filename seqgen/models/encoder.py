"""The encoder: a sentence to a latent vector, or to the mean and log variance of a Gaussian."""

from torch import Tensor, nn

from seqgen.models.discriminator import embed, last_states, real_positions
from seqgen.models.recurrent_layers import CELLS


class RNNEncoder(nn.Module):
    """Recurrent encoder: embedding → bidirectional LSTM or GRU → its two last states → mean and log variance.

    Padding changes nothing. Dropout is applied to the embeddings and to what the two outputs are made of.
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
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.forwards = CELLS[cell](embedding, hidden, batch_first=True)
        self.backwards = CELLS[cell](embedding, hidden, batch_first=True) if bidirectional else None
        self.dropout = nn.Dropout(dropout)
        features = 2 * hidden if bidirectional else hidden
        self.mean = nn.Linear(features, latent_dim)
        self.log_var = nn.Linear(features, latent_dim)

    def features(self, tokens: Tensor) -> Tensor:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → (B, F), F = H or 2 H."""
        lengths = real_positions(tokens).sum(dim=1).clamp(min=1)
        embedded = self.dropout(embed(self.embedding, tokens))
        return self.dropout(last_states(self.forwards, self.backwards, embedded, lengths))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sentences, ids (B, T) or soft one-hots (B, T, V); → mean (B, Z), log variance (B, Z)."""
        features = self.features(tokens)
        return self.mean(features), self.log_var(features)
