"""The recurrent generator: an LSTM or GRU language model that can be stepped, branched and teacher-forced."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.models.state import State
from seqgen.models.vocab_head import Head

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}

SMALL_STEP = 64 * 64
"""Rows times hidden units up to which one LSTM step is cheaper as a bare cell."""


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
    projection from H to E where they differ. With a `code` of Z numbers the generator is the decoder of an
    autoencoder: the code (B, Z), last in the state, makes the first hidden state and joins the input of every
    step (Bowman et al. 2016).
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
        code: int = 0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell '{cell}'; allowed: {', '.join(CELLS)}")
        self.vocab_size = vocab_size
        self.layers = layers
        self.code = code
        self.embedding = nn.Embedding(vocab_size, embedding)
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](embedding + code, hidden, num_layers=layers, dropout=between, batch_first=True)
        self.begin = nn.Linear(code, layers * hidden) if code else None
        self.attention = CausalAttention(hidden) if attention else None
        self.projection = nn.Linear(hidden, embedding) if tied and embedding != hidden else None
        self.dropout = nn.Dropout(dropout)
        self.head = Head(
            embedding if tied else hidden, vocab_size, weight=self.embedding.weight if tied else None
        )
        if tied:  # N(0, 1) embeddings would make logits of standard deviation √E
            nn.init.normal_(self.embedding.weight, std=embedding**-0.5)

    def initial(self, batch: int) -> State:
        """The state before anything was read, on the device and in the type of the weights.

        Zeros; where the generator has a code, that of codes drawn from N(0, I), torch's global generator.
        """
        weight = self.head.weight
        if self.code:
            return self.state(torch.randn(batch, self.code, device=weight.device).to(weight.dtype))
        return self._state(weight.new_zeros(batch, self.layers, self.rnn.hidden_size))

    def state(self, codes: Tensor) -> State:
        """The state before anything was read, given codes; (B, Z) → State."""
        assert self.begin is not None, "a generator without a code has but one initial state"
        return (*self._state(torch.tanh(self.begin(codes)).unflatten(1, (self.layers, -1))), codes)

    def _state(self, hidden: Tensor) -> State:
        """Complete a first hidden state (B, layers, H) by an empty cell and nothing to attend to."""
        parts = (hidden, torch.zeros_like(hidden)) if isinstance(self.rnn, nn.LSTM) else (hidden,)
        if self.attention is None:
            return parts
        nothing = hidden.new_zeros(len(hidden), 0, self.rnn.hidden_size)
        return (*parts, nothing, nothing)

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens and return what the head reads at each of them, and the state after the last.

        tokens: ids (B, T), or soft one-hot vectors (B, T, V) that mix embeddings; → (B, T, H), State.
        """
        states, after = self.representations(tokens, state)
        return self.dropout(states) if self.training else states, after

    def representations(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As `hidden`, but before the dropout of what the head reads."""
        weight = self.embedding.weight
        embedded = tokens @ weight if tokens.is_floating_point() else F.embedding(tokens, weight)
        if self.training:
            embedded = self.dropout(embedded)
        codes = state[-1:] if self.code else ()
        for each in codes:
            embedded = torch.cat((embedded, each[:, None].expand(-1, embedded.shape[1], -1)), dim=-1)
        states, after = self._recur(embedded, state)
        if self.attention is not None:
            past = len(after)
            states, keys, values = self.attention(states, *state[past : past + 2])
            after = (*after, keys, values)
        after = (*after, *codes)
        if self.projection is not None:
            states = self.projection(states)
        return states * self.head.scale, after

    def _recur(self, embedded: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the recurrent layers, whose own states have the layers first; (B, T, E) → (B, T, H), State."""
        if self._steps_alone(embedded):
            given = state[0][:, 0], state[1][:, 0]
            h, c = torch.lstm_cell(embedded[:, 0], given, *self.rnn.all_weights[0])
            return h[:, None], (h[:, None], c[:, None])
        h = state[0].transpose(0, 1).contiguous()
        if isinstance(self.rnn, nn.LSTM):
            states, (h, c) = self.rnn(embedded, (h, state[1].transpose(0, 1).contiguous()))
            return states, (h.transpose(0, 1), c.transpose(0, 1))
        states, h = self.rnn(embedded, h)
        return states, (h.transpose(0, 1),)

    def _steps_alone(self, embedded: Tensor) -> bool:
        """Whether this is a step so small that a bare cell takes half the time of the layer around it."""
        small = embedded.shape[1] == 1 and embedded.shape[0] * self.rnn.hidden_size <= SMALL_STEP
        plain = isinstance(self.rnn, nn.LSTM) and self.layers == 1
        return small and plain and embedded.device.type == "cpu" and not torch.is_grad_enabled()

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens, (B, T) ids or (B, T, V) soft one-hots; → logits (B, T, V), State."""
        states, after = self.hidden(tokens, state)
        return self.head(states), after
