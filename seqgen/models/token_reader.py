"""Recurrent layers that read a sentence both ways and say something of each of its tokens."""

import copy

import torch
from torch import Tensor, nn

from seqgen.functional.dropout import Dropout
from seqgen.models.discriminator import real_positions, reverse, states_of
from seqgen.models.recurrent_layers import CELLS


class TokenReader(nn.Module):
    """Sentences (B, T) → O numbers of each token, (B, T, O), that know all of its sentence.

    Of several versions of a sentence, such as one with blanks and one with the blanks filled, it reads the
    sum of the embeddings. Dropout is applied to the embeddings and to what the numbers are computed from.
    """

    def __init__(
        self, vocab_size: int, embedding: int, hidden: int, outputs: int, *, cell: str, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.rnn = CELLS[cell](embedding, hidden, batch_first=True)
        self.backwards = copy.deepcopy(self.rnn)
        self.backwards.reset_parameters()
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(2 * hidden, outputs)

    def forward(self, *versions: Tensor) -> Tensor:
        """Read versions of sentences, ids (B, T) each, padded alike; → (B, T, O)."""
        lengths = real_positions(versions[0]).sum(dim=1).clamp(min=1)
        embedded = self.dropout(torch.stack([self.embedding(tokens) for tokens in versions]).sum(dim=0))
        ahead = states_of(self.rnn, embedded, lengths)
        back = states_of(self.backwards, reverse(embedded, lengths), lengths)
        return self.output(self.dropout(torch.cat((ahead, reverse(back, lengths)), dim=2)))
