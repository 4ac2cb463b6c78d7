"""The recurrent generator: an LSTM or GRU language model that can be stepped, branched and teacher-forced."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.models.head import Head
from seqgen.models.state import State

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class CausalAttention(nn.Module):
    """One head of attention from every state to itself and the states before it, added to the state.

    Keys and values of the past are arguments and results, so that one step at a time equals all at once.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.value = nn.Linear(hidden, hidden, bias=False)
        self.merge = nn.Linear(hidden, hidden, bias=False)

    def forward(self, states: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from T new states (B, T, H) to P past ones (B, P, H) and the new ones up to themselves.

        Returns the states with what they attended to added (B, T, H), and the keys and values (B, P + T, H).
        """
        past, new = keys.shape[1], states.shape[1]
        keys = torch.cat((keys.to(states.dtype), self.key(states)), dim=1)
        values = torch.cat((values.to(states.dtype), self.value(states)), dim=1)
        visible = torch.ones(new, past + new, dtype=torch.bool, device=states.device).tril(past)
        context = F.scaled_dot_product_attention(self.query(states), keys, values, attn_mask=visible)
        return states + self.merge(context), keys, values


class RNNGenerator(nn.Module):
    """Autoregressive model of token sequences: embedding → LSTM or GRU → (attention) → vocabulary head.

    The state is (h,) for a GRU, (h, c) for an LSTM, each (B, layers, H), followed with attention by the
    keys and values of every position read so far, (B, P, H) each. Dropout is applied to the embeddings,
    between the layers and to what the head reads (Zaremba et al. 2014, "Recurrent neural network
    regularization"). `tied` uses one matrix as embedding and head (Press & Wolf 2017), behind a
    projection from H to E where they differ.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 32,
        hidden: int = 32,
        *,
        layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        tied: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.vocab_size = vocab_size
        self.layers = layers
        self.embedding = nn.Embedding(vocab_size, embedding)
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](embedding, hidden, num_layers=layers, dropout=between, batch_first=True)
        self.attention = CausalAttention(hidden) if attention else None
        self.projection = nn.Linear(hidden, embedding) if tied and embedding != hidden else None
        self.dropout = nn.Dropout(dropout)
        self.head = Head(
            embedding if tied else hidden, vocab_size, weight=self.embedding.weight if tied else None
        )
        if tied:  # N(0, 1) embeddings would make logits of standard deviation √E
            nn.init.normal_(self.embedding.weight, std=embedding**-0.5)

    def initial(self, batch: int) -> State:
        """The state before anything was read: zeros, on the device and in the type of the weights."""
        weight = self.head.weight
        hidden = self.rnn.hidden_size
        state = tuple(weight.new_zeros(batch, self.layers, hidden) for _ in range(2 if self._is_lstm else 1))
        if self.attention is None:
            return state
        return (*state, weight.new_zeros(batch, 0, hidden), weight.new_zeros(batch, 0, hidden))

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens and return what the head reads at each of them, and the state after the last.

        tokens: ids (B, T), or soft one-hot vectors (B, T, V) that mix embeddings; → (B, T, H), State.
        """
        soft = tokens.is_floating_point()
        embedded = tokens @ self.embedding.weight if soft else self.embedding(tokens)
        recurrent = [part.transpose(0, 1).contiguous() for part in state[: 2 if self._is_lstm else 1]]
        given = tuple(recurrent) if self._is_lstm else recurrent[0]
        states, last = self.rnn(self.dropout(embedded), given)
        after: State = tuple(part.transpose(0, 1) for part in (last if self._is_lstm else (last,)))
        if self.attention is not None:
            states, keys, values = self.attention(states, *state[-2:])
            after = (*after, keys, values)
        if self.projection is not None:
            states = self.projection(states)
        return self.dropout(states), after

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens, (B, T) ids or (B, T, V) soft one-hots; → logits (B, T, V), State."""
        states, after = self.hidden(tokens, state)
        return self.head(states), after

    @property
    def _is_lstm(self) -> bool:
        return isinstance(self.rnn, nn.LSTM)
