"""LSTM and GRU layers, run whole or a step at a time, in a type in which they do not overflow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.core import distributed
from seqgen.core.device import is_host
from seqgen.functional.dropout import dropout_mask
from seqgen.functional.vocab_projection import no_autocast
from seqgen.models.state import State


class LSTM(nn.LSTM):
    """LSTM layers that an accelerator's autocast leaves in float32; padded batches alone, no packed ones."""

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        """Read inputs as `torch.nn.LSTM` does; what comes out has the type that autocast asks for."""
        forward = partial(_by_layers, self) if _drops_for_all(self) else super().forward
        return _outside_autocast(forward, inputs, state)


class GRU(nn.GRU):
    """GRU layers that an accelerator's autocast leaves in float32; padded batches alone, no packed ones."""

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        """Read inputs as `torch.nn.GRU` does; what comes out has the type that autocast asks for."""
        forward = partial(_by_layers, self) if _drops_for_all(self) else super().forward
        return _outside_autocast(forward, inputs, state)


def _drops_for_all(rnn: nn.RNNBase) -> bool:
    """Whether masks between layers are to be drawn for the whole of a batch that several processes share."""
    return distributed.shards() > 1 and rnn.training and rnn.dropout > 0 and rnn.num_layers > 1


def _by_layers(rnn: nn.RNNBase, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Read inputs (B, T, E) as torch does, with the masks that one process would draw on the CPU."""
    is_lstm = isinstance(rnn, nn.LSTM)
    zeros = inputs.new_zeros(rnn.num_layers, len(inputs), rnn.hidden_size)
    given = (state if is_lstm else (state,)) if state is not None else (zeros, zeros)[: 1 + is_lstm]
    after = []
    read = inputs
    for layer, weights in enumerate(rnn.all_weights):
        if layer:  # torch's layers have the batch second
            by_time = read.transpose(0, 1).contiguous()
            read = (by_time * dropout_mask(by_time, rnn.dropout, batch_dim=1)).transpose(0, 1)
        own = tuple(part[layer : layer + 1] for part in given)
        tensors: list[Tensor] = list(weights)
        how = (tensors, rnn.bias, 1, 0.0, True, False, True)
        read, *states = torch.lstm(read, own, *how) if is_lstm else torch.gru(read, own[0], *how)
        after.append(states)
    joint = tuple(torch.cat(parts) for parts in zip(*after, strict=True))
    return read, joint if is_lstm else joint[0]


def _outside_autocast(
    forward: Callable[..., tuple[Tensor, Any]], inputs: Tensor, state: Any
) -> tuple[Tensor, Any]:
    """Run layers in float32: autocast runs cuDNN's in float16, also where bfloat16 is asked for."""
    device = inputs.device
    if is_host(device) or device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return forward(inputs, state)
    if isinstance(state, tuple):
        state = tuple(part.float() for part in state)
    elif state is not None:
        state = state.float()
    with no_autocast(device):
        states, after = forward(inputs.float(), state)
    return states.to(torch.get_autocast_dtype(device.type)), after


CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}

WIDE = 256
"""Units of a recurrent layer from which cuDNN's step is faster than a bare cell's."""
FEW_ROWS = 128
"""Rows up to which one LSTM step is cheaper as a bare cell on the CPU; one of a GRU always is."""


def recur(rnn: nn.RNNBase, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run recurrent layers whose state has the batch first; (B, T, E) → (B, T, H), State.

    state: (h,) of a GRU, (h, c) of an LSTM, each (B, layers, H); what follows them is left out.
    """
    if _is_by_cells(rnn, inputs):
        return _step(rnn, inputs, state)
    h = state[0].transpose(0, 1).contiguous()
    if isinstance(rnn, nn.LSTM):
        states, (h, c) = rnn(inputs, (h, state[1].transpose(0, 1).contiguous()))
        return states, (h.transpose(0, 1), c.transpose(0, 1))
    states, h = rnn(inputs, h)
    return states, (h.transpose(0, 1),)


def _is_by_cells(rnn: nn.RNNBase, inputs: Tensor) -> bool:
    """Whether to take a step by bare cells, which is faster than the layers around them.

    On the CPU that holds for few rows of an LSTM, and for a GRU: a step of 64 rows and 512 units takes an
    LSTM 4.0 ms by a cell and 5.0 ms by a layer, one of 1,024 rows and 32 units .49 and .39 ms. On CUDA it
    holds for narrow layers: cuDNN needs 1.2 and 2.9 ms for a step of 4,096 rows and 128 or 192 units, where
    cells need 0.1 ms; with 512 units it is cuDNN that needs 0.1 ms, and cells 0.4.
    """
    if inputs.shape[1] != 1 or torch.is_grad_enabled() or (rnn.training and rnn.dropout):
        return False
    if not is_host(inputs.device):
        return rnn.hidden_size < WIDE
    return inputs.shape[0] <= FEW_ROWS or isinstance(rnn, nn.GRU)


def _step(rnn: nn.RNNBase, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Take one step of every layer, (B, 1, E); as `recur`, without dropout."""
    read = inputs[:, 0]
    is_lstm = isinstance(rnn, nn.LSTM)
    after: list[State] = []
    flat: list[Any] = rnn._flat_weights  # `all_weights` looks each of them up by its name
    each = len(flat) // rnn.num_layers
    for layer in range(rnn.num_layers):
        weights = flat[layer * each : (layer + 1) * each]
        given = tuple(part[:, layer] for part in state[: 1 + is_lstm])
        new = torch.lstm_cell(read, given, *weights) if is_lstm else (torch.gru_cell(read, *given, *weights),)
        read = new[0]
        after.append(new)
    if len(after) == 1:
        return read[:, None], tuple(part[:, None] for part in after[0])
    return read[:, None], tuple(torch.stack(parts, dim=1) for parts in zip(*after, strict=True))
