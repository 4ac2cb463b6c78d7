"""Critics of sentences, as ids or soft one-hots, and of latent vectors."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core.device import widened
from seqgen.functional.dropout import Dropout
from seqgen.functional.gan_losses import gradient_penalty
from seqgen.models.discriminator import embed, real_positions

WIDTHS = (1, 2, 3, 4, 5)
"""Tokens that a filter of the critic of sentences covers."""
LEAK = 0.2
"""Slope of a leaky ReLU below 0."""


class _Critic(nn.Module):
    """What critics of sentences share: the embedding, and a penalty on the gradient with respect to words."""

    embedding: nn.Embedding

    @abstractmethod
    def score(self, embedded: Tensor) -> Tensor:
        """Score embedded sentences, padding being 0; (B, T, E) → (B,)."""

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed ids (B, T) or soft one-hots (B, T, V), padding as 0; → (B, T, E)."""
        return embed(self.embedding, tokens) * real_positions(tokens)[..., None]

    def forward(self, tokens: Tensor) -> Tensor:
        """Score sentences, ids (B, T) or soft one-hots (B, T, V); → (B,), higher is more real."""
        return self.score(self.embed(tokens))

    def gradient_penalty(self, real: Tensor, fake: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return E[(‖∇D‖ - 1)²] between real (R, T) and fake (F, T') (Gulrajani et al. 2017); scalar.

        Ids, or soft one-hots (…, V); pairs are made as far as there are both. The gradient is that with
        respect to the one-hots (T, V), but none are held. A score depends on a one-hot x only through its
        embedding x E. With E = Q Lᵀ, L the Cholesky factor of Eᵀ E and the columns of Q orthonormal, the
        embedding has the coordinates c = x Q and is c Lᵀ; the gradient in c is as long as that in x. The
        coordinates are constants, as the points of the paper are.
        """
        pairs, longest = min(len(real), len(fake)), max(real.shape[1], fake.shape[1])
        basis = self._embedding_basis()

        def coordinates(tokens: Tensor) -> Tensor:
            embedded = F.pad(self.embed(tokens[:pairs]), (0, 0, 0, longest - tokens.shape[1])).detach()
            found = torch.linalg.solve_triangular(basis.detach(), widened(embedded), upper=True, left=False)
            return found.to(embedded.dtype)

        narrow = basis.to(self.embedding.weight.dtype)
        return gradient_penalty(
            lambda c: self.score(c @ narrow), coordinates(real), coordinates(fake), rng=rng
        )

    def _embedding_basis(self) -> Tensor:
        """Return Lᵀ (E, E), L the Cholesky factor of the embedding's Gram matrix, in double precision."""
        weight = widened(self.embedding.weight)
        gram = weight.t() @ weight
        # Of fewer tokens than dimensions it is singular without a jitter.
        jitter = 1e-6 * gram.diagonal().mean().detach() * torch.eye(len(gram), device=gram.device)
        return torch.linalg.cholesky_ex(gram + jitter).L.t()  # without a look at whether it went well


class SentenceCritic(_Critic):
    """Convolutional critic: embedding → filters of five widths, the strongest of each → two layers → a score.

    Padding is the vector 0, of which there is always a filter's width at either end, so that its amount
    changes nothing and a filter can see that a sentence begins or ends. All of it is smooth enough for a
    penalty on its gradient. Dropout is applied to the embeddings and before the last layer.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        *,
        filters: int = 64,
        widths: Sequence[int] = WIDTHS,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.widths = tuple(widths)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, kernel_size=w) for w in widths)
        self.dropout = Dropout(dropout)
        features = filters * len(widths)
        self.head = nn.Sequential(
            nn.Linear(features, features), nn.LeakyReLU(LEAK), self.dropout, nn.Linear(features, 1)
        )

    def score(self, embedded: Tensor) -> Tensor:
        """Score embedded sentences, (B, T, E) → (B,)."""
        channels = self.dropout(embedded).transpose(1, 2)
        strongest = [
            F.leaky_relu(each(F.pad(channels, (width - 1, width))), LEAK).amax(dim=2)
            for width, each in zip(self.widths, self.convolutions, strict=True)
        ]
        return self.head(torch.cat(strongest, dim=1))[:, 0]


class RNNCritic(_Critic):
    """Recurrent critic: embedding → GRU → its state after the last word → a dense layer → a score.

    The amount of padding after a sentence changes nothing. Dropout is applied to the embeddings and before
    the last layer.
    """

    def __init__(
        self, vocab_size: int, embedding: int = 32, *, hidden: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.rnn = nn.GRU(embedding, hidden, batch_first=True)
        self.dropout = Dropout(dropout)
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden), nn.LeakyReLU(LEAK), self.dropout, nn.Linear(hidden, 1)
        )

    def score(self, embedded: Tensor) -> Tensor:
        """Score embedded sentences, (B, T, E) → (B,)."""
        states, _ = self.rnn(self.dropout(embedded))
        positions = torch.arange(embedded.shape[1], device=embedded.device)
        last = ((embedded != 0).any(dim=2) * positions).amax(dim=1)
        return self.head(states[torch.arange(len(states), device=states.device), last])[:, 0]

    def gradient_penalty(self, real: Tensor, fake: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return the penalty of `SentenceCritic`; cuDNN's recurrent layers cannot be differentiated twice."""
        with torch.backends.cudnn.flags(enabled=False):
            return super().gradient_penalty(real, fake, rng=rng)


class LatentCritic(nn.Module):
    """Two hidden layers over a latent vector and its squares; (B, Z) → (B,), higher is more like the prior.

    With the squares before it, a wrong variance is as easy to see as a wrong mean.
    """

    def __init__(self, latent_dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * latent_dim, hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(hidden, 1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(torch.cat((latents, latents.square() - 1), dim=1))[:, 0]
