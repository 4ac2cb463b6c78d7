"""LeakGAN's generator (Guo et al. 2018): a manager reads a discriminator's features and steers a worker."""

from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.tokenizer import BOS
from seqgen.models.base import Generator, evaluating
from seqgen.models.discriminator import PrefixReader
from seqgen.models.recurrent_layers import LSTM, recur
from seqgen.models.state import State


class Manager(nn.Module):
    """Set a goal at every prefix: the direction in which the discriminator's features should change.

    An LSTM over the features (B, T, F) → goals (B, T, F) of length 1. The state is (h, c), each (B, 1, M).
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.rnn = LSTM(features, hidden, batch_first=True)
        self.output = nn.Linear(hidden, features)

    def initial(self, batch: int) -> State:
        """Return the state before any feature: zeros."""
        zeros = self.output.weight.new_zeros(batch, 1, self.rnn.hidden_size)
        return zeros, torch.zeros_like(zeros)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T features; → the goal after each, State."""
        hidden, after = recur(self.rnn, features, state)
        return F.normalize(self.output(hidden).float(), dim=-1), after


class GoalGate(nn.Module):
    """Embed the goals of the last c steps, the present one included, as factors of what the head reads.

    w = W Σ g in K dimensions, without a bias, as in the paper; then 1 + U w, one factor for each of the H
    numbers. U starts at 0, so that at first the worker generates as it does without a manager.
    """

    def __init__(self, features: int, embedding: int, hidden: int, *, horizon: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(features, embedding, bias=False)
        self.factors = nn.Linear(embedding, hidden, bias=False)
        nn.init.zeros_(self.factors.weight)
        self.horizon = horizon

    def initial(self, batch: int) -> State:
        """Return the goals before the first: none, (B, c - 1, F) zeros."""
        weight = self.embedding.weight
        return (weight.new_zeros(batch, self.horizon - 1, weight.shape[1]),)

    def forward(self, goals: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Take T more goals (B, T, F) after the last ones; → factors (B, T, H), the next last ones."""
        known = torch.cat((recent, goals), dim=1)
        sums = known.unfold(1, self.horizon, 1).sum(dim=-1)  # (B, T, F)
        return 1 + self.factors(self.embedding(sums)), known[:, goals.shape[1] :]


class LeakedGenerator(Generator):
    """A generator of any kind, the worker, whose next token also follows the goals of a manager.

    reader: a discriminator that reads prefixes (`seqgen.models.discriminator.PrefixReader`), without dropout;
    neither its features nor the goals pass a gradient on. The state is the worker's, the reader's, the
    manager's and the last goals. The parts belong to the algorithm, which holds them under their own names.
    """

    reader: PrefixReader

    def __init__(self, worker: Generator, reader: Any, manager: Manager, gate: GoalGate) -> None:
        nn.Module.__init__(self)  # the layers are the worker's
        self.vocab_size, self.latent_dim = worker.vocab_size, 0
        self.head, self.dropout = worker.head, worker.dropout
        self.worker, self.reader, self.manager, self.gate = worker, reader, manager, gate
        self.parts_of_worker = len(worker.initial(1))

    def first_state(self, batch: int, latent: Tensor | None = None) -> State:
        """Return the state before any token, for `batch` rows."""
        networks = (self.worker, self.reader, self.manager, self.gate)
        return tuple(part for network in networks for part in network.initial(batch))

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """TypeError: the reader has embeddings of its own, so tokens are read, not inputs."""
        raise TypeError("a LeakedGenerator reads tokens, not embeddings")

    def representations(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens; → what the head reads after each (B, T, H), State; without dropout in the head."""
        own, (*of_reader, h, c, recent) = state[: self.parts_of_worker], state[self.parts_of_worker :]
        with evaluating(self.reader):
            features, read = self.reader.read(tokens, tuple(of_reader))
            goals, managed = self.manager(features, (h, c))
        states, worked = self.worker.representations(tokens, own)
        factors, recent = self.gate(goals, recent)
        return states * factors, (*worked, *read, *managed, recent)

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens; return what the head reads after each, and the state after the last."""
        states, after = self.representations(tokens, state)
        return self.dropout(states) if self.worker.training else states, after

    def without_dropout(self) -> AbstractContextManager[None]:
        """Switch the worker's dropout off, the only one, but keep gradients."""
        return self.worker.without_dropout()

    def leak(self, tokens: Tensor) -> Tensor:
        """Return the reader's features of every prefix, the empty one first; (B, T) → (B, T + 1, F)."""
        with evaluating(self.reader):
            return self.reader.read(F.pad(tokens, (1, 0), value=BOS), self.reader.initial(len(tokens)))[0]
