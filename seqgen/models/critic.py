"""Critics: what judges a sentence, ids or soft one-hots, and what judges a code."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.functional.gan_losses import gradient_penalty
from seqgen.models.discriminator import embed, real_positions

WIDTHS = (1, 2, 3, 4, 5)
"""Tokens that a filter of a sentence's critic sees."""
LEAK = 0.2
"""Slope of a critic's units below 0: one that is off still has a gradient."""


class SentenceCritic(nn.Module):
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
        self.dropout = nn.Dropout(dropout)
        features = filters * len(widths)
        self.head = nn.Sequential(
            nn.Linear(features, features), nn.LeakyReLU(LEAK), self.dropout, nn.Linear(features, 1)
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed ids (B, T) or soft one-hots (B, T, V), padding as 0; → (B, T, E)."""
        return embed(self.embedding, tokens) * real_positions(tokens)[..., None]

    def judge(self, embedded: Tensor) -> Tensor:
        """Score embedded sentences, (B, T, E) → (B,)."""
        channels = self.dropout(embedded).transpose(1, 2)
        strongest = [
            F.leaky_relu(each(F.pad(channels, (width - 1, width))), LEAK).amax(dim=2)
            for width, each in zip(self.widths, self.convolutions, strict=True)
        ]
        return self.head(torch.cat(strongest, dim=1))[:, 0]

    def forward(self, tokens: Tensor) -> Tensor:
        """Score sentences, ids (B, T) or soft one-hots (B, T, V); → (B,), higher is more real."""
        return self.judge(self.embed(tokens))

    def slope_penalty(self, real: Tensor, made: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Penalise slopes between real and made sentences that are not 1 long; (R, T), (F, T') ids → scalar.

        Also of soft one-hots (…, V). Pairs are made as far as there are both. The slope is that in one-hots
        (T, V), but none are held: a score depends on x only by x E, whose coordinates in a basis of the
        columns of E = Q Lᵀ, L the Cholesky factor of Eᵀ E, have a slope of the same length.
        """
        pairs, longest = min(len(real), len(made)), max(real.shape[1], made.shape[1])
        weight = self.embedding.weight.double()  # of fewer tokens than units Eᵀ E is singular without jitter
        gram = weight.t() @ weight
        jitter = 1e-6 * gram.diagonal().mean().detach() * torch.eye(len(gram), device=gram.device)
        upper = torch.linalg.cholesky(gram + jitter).t()

        def coordinates(tokens: Tensor) -> Tensor:
            embedded = F.pad(self.embed(tokens[:pairs]), (0, 0, 0, longest - tokens.shape[1])).detach()
            found = torch.linalg.solve_triangular(upper.detach(), embedded.double(), upper=True, left=False)
            return found.to(embedded.dtype)

        basis = upper.to(self.embedding.weight.dtype)
        return gradient_penalty(
            lambda x: self.judge(x @ basis), coordinates(real), coordinates(made), rng=rng
        )


class CodeCritic(nn.Module):
    """Two hidden layers over a code and its squares; (B, Z) → (B,), higher is more like a code of the prior.

    With the squares before it, a spread that is off is as easy to tell as a mean, and told as soon.
    """

    def __init__(self, code: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * code, hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(hidden, 1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(torch.cat((codes, codes.square() - 1), dim=1))[:, 0]
