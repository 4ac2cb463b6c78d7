"""A GRU layer over sentences of uneven length on the CPU, with whole-sequence products where they can be.

torch's layer has some twenty nodes of its graph a step, and reads padding. Here the rows are sorted by
length, so that a step is that of the sentences which have one; the gradients of a step are a product and two
operations, as what multiplies them is computed for all steps at once, and those of the weights are products
over all tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqgen.core.device import is_host


def can_read(rnn: nn.RNNBase, inputs: Tensor) -> bool:
    """Whether `gru` does what a layer would, faster: one GRU layer that learns, in float32 on the CPU."""
    is_plain = isinstance(rnn, nn.GRU) and rnn.num_layers == 1 and rnn.bias and not rnn.bidirectional
    is_exact = inputs.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_plain and is_exact and torch.is_grad_enabled() and is_host(inputs.device)


def gru(rnn: nn.RNNBase, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the states of a layer that starts from zero; (B, T, E), (B,) from 1 to T → (B, T, H), else 0.

    The gradient is not differentiable again.
    """
    batch, length, size = inputs.shape
    ordered, order = lengths.sort(descending=True)
    has_step = torch.arange(length)[:, None] < ordered  # (T, B)
    step, row = has_step.nonzero().unbind(dim=1)
    places = order[row] * length + step
    counts = [n for n in has_step.sum(dim=1).tolist() if n]
    by_step = inputs.reshape(batch * length, size).index_select(0, places)
    states: Tensor = _GRU.apply(by_step, counts, *rnn.all_weights[0])
    padded = states.new_zeros(batch * length, states.shape[1]).index_copy(0, places, states)
    return padded.view(batch, length, -1)


class _GRU(torch.autograd.Function):
    """The states of N tokens (N, H), laid out step by step; `counts` of them are of each step, none growing.

    r, z = σ(W x + U h + b), n = tanh(W x + b + r (U h + b)), h' = (1 - z) n + z h (Cho et al. 2014).
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        counts: list[int],
        w_in: Tensor,
        w_state: Tensor,
        b_in: Tensor,
        b_state: Tensor,
    ) -> Tensor:
        hidden = w_state.shape[1]
        of_inputs = torch.addmm(b_in, inputs, w_in.t())  # (N, 3 H): r, z, n
        of_states = torch.empty_like(of_inputs)
        gates, new = inputs.new_empty(len(inputs), 2 * hidden), inputs.new_empty(len(inputs), hidden)
        before, states = torch.empty_like(new), torch.empty_like(new)
        state = inputs.new_zeros(counts[0], hidden)
        first = 0
        for count in counts:
            at = slice(first, first + count)
            before[at] = state = state[:count]
            linear = torch.addmm(b_state, state, w_state.t(), out=of_states[at])
            sums = torch.add(of_inputs[at, : 2 * hidden], linear[:, : 2 * hidden], out=gates[at])
            reset, update = sums.sigmoid_().chunk(2, dim=1)
            own, recurrent = of_inputs[at, 2 * hidden :], linear[:, 2 * hidden :]
            fresh = torch.addcmul(own, reset, recurrent, out=new[at]).tanh_()
            state = torch.lerp(fresh, state, update, out=states[at])
            first += count
        ctx.counts = counts
        ctx.save_for_backward(inputs, w_in, w_state, of_states[:, 2 * hidden :], gates, new, before)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients to inputs and weights, given that to the states (N, H)."""
        inputs, w_in, w_state, of_states, gates, new, before = ctx.saved_tensors
        hidden = new.shape[1]
        reset, update = gates.chunk(2, dim=1)
        # What the gradient of a state is multiplied by to be that of r, z and n before their nonlinearities.
        to_new = (1 - update) * (1 - new * new)
        to_reset = to_new * of_states * reset * (1 - reset)
        to_update = (before - new) * update * (1 - update)
        factors = torch.stack((to_reset, to_update, to_new * reset), dim=1)
        to_linear, to_states = torch.empty_like(factors), torch.empty_like(new)
        flat = to_linear.view(-1, 3 * hidden)
        last, later = len(inputs), gradient[:0]
        for count in reversed(ctx.counts):
            at = slice(last - count, last)
            to_state = to_states[at].copy_(gradient[at])
            to_state[: len(later)] += later
            torch.mul(to_state[:, None], factors[at], out=to_linear[at])
            later = torch.addmm(to_state * update[at], flat[at], w_state)
            last -= count
        to_w_state, to_b_state = flat.t() @ before, flat.sum(dim=0)
        flat[:, 2 * hidden :] = to_states * to_new  # the input joins n behind r
        return flat @ w_in, None, flat.t() @ inputs, to_w_state, flat.sum(dim=0), to_b_state
