"""Loops of many small kernels as CUDA graphs: recorded once, then started by a single call.

A loop that generates launches hundreds of kernels of a few microseconds each, and the host needs longer to
launch one than the device to run it. A graph is what a function did on tensors of given shapes; it can be
replayed on new contents as long as the function asks the host for nothing.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from seqgen.core import distributed
from seqgen.core.errors import Notice

Function = Callable[..., tuple[Tensor, ...]]

MOST_GRAPHS = 8
"""Graphs kept of a module; the one that was not used for longest goes first."""

_graphs: WeakKeyDictionary[nn.Module, "OrderedDict[Hashable, _Graph | None]"] = WeakKeyDictionary()
_anchors: dict[torch.device, torch.cuda.CUDAGraph] = {}
"""An empty graph of each device: the memory that graphs share lives as long as one that uses it."""
_failures: list[str] = []
"""Why recording failed; after the first failure no graph is recorded any more."""


def replay(
    function: Function, inputs: tuple[Tensor, ...], *, modules: tuple[nn.Module, ...], key: Hashable
) -> tuple[Tensor, ...]:
    """Return function(*inputs), tensors, from a graph where there is one for such inputs.

    The first call of its kind runs the function as it is, the second records it. The function reads the
    weights of `modules` and its inputs, both of them on one device, waits for nothing, draws from torch's
    global generator alone, and does the same for the same `key`. Without CUDA it is called as it is; so it is
    if a recording fails, with one warning.
    """
    if _failures or not all(part.is_cuda for part in inputs):
        return function(*inputs)
    weights = tuple(weight.data_ptr() for module in modules for weight in module.parameters())
    shapes = tuple((part.shape, part.dtype) for part in inputs)
    full_key = (key, weights, shapes, _autocast_dtype(), distributed.shards())
    known = _graphs.setdefault(modules[0], OrderedDict())
    if full_key not in known:
        known[full_key] = None
        while len(known) > MOST_GRAPHS:
            known.popitem(last=False)
        return function(*inputs)
    known.move_to_end(full_key)
    graph = known[full_key]
    if graph is None:
        graph = known[full_key] = _record(function, inputs)
        if graph is None:
            return function(*inputs)
    return graph.replay(inputs)


class _Graph:
    """A recorded function, with the tensors that it reads and writes."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]) -> None:
        device = inputs[0].device
        self.inputs = tuple(part.clone() for part in inputs)
        self.graph = torch.cuda.CUDAGraph()
        dtype = _autocast_dtype()
        # Weights that autocast has cast before would be read from memory that is soon given back.
        uncached = nullcontext() if dtype is None else torch.autocast("cuda", dtype, cache_enabled=False)
        with torch.cuda.device(device), uncached:
            if device not in _anchors:
                _anchors[device] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(_anchors[device]):
                    torch.zeros(1, device=device)
            with torch.cuda.graph(self.graph, pool=_anchors[device].pool()):
                self.outputs = function(*self.inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return tuple(part.clone() for part in self.outputs)


def _record(function: Function, inputs: tuple[Tensor, ...]) -> _Graph | None:
    """Record a function; None, with one warning for all, where it cannot be."""
    device = inputs[0].device
    generator = torch.cuda.default_generators[device.index or 0]
    random_state = generator.get_state()
    try:
        return _Graph(function, inputs)
    except RuntimeError as error:
        # The generator takes itself to be recorded still; a fresh state does not.
        generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
        generator.set_state(random_state)
        _anchors.pop(device, None)  # its memory pool may be left as if it were recording
        _failures.append(" ".join(str(error).split())[:120])
        warnings.warn(f"CUDA graphs are off, which is slower: {_failures[0]}", Notice, stacklevel=2)
        return None


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
