"""Whether the model that a configuration describes has the shapes of its weights, before any memory is taken.

A configuration may ask for ten million layers or a matrix that no machine holds. Its model is first built on
torch's meta device, where a tensor is a shape alone, and given up once it is larger than its weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import safetensors
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seqgen.core.errors import UserError
from seqgen.core.untrusted import check_regular
from seqgen.training.run_folder import CONFIG, WEIGHTS, Run

CALLS = 50
"""Calls of torch functions that build one tensor of a model and draw its first values, at most."""
SPARE_CALLS, SPARE_NUMBERS = 2_000, 1 << 20
"""What a model may have beside its weights: buffers that are not kept, or that an older version had not."""
NORMAL = (nn.init.normal_, torch.Tensor.normal_)
"""Draws that are left out, as a shape has no values. For these and for `eye` torch would import its compiler,
which takes a second."""


class _TooLarge(Exception):
    """A model has more tensors than its weights."""


class _Bounded(TorchFunctionMode):
    """Counts calls of torch functions, and ends those of a model that has too many."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _TooLarge
        if func in NORMAL:
            return args[0] if args else kwargs["tensor"]
        if func is torch.eye:
            return torch.empty(args[0], args[-1], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def check_shapes(build: Callable[[], nn.Module], run: Run) -> None:
    """Raise UserError where a model has other shapes than a run's weights; nothing of its size is allocated.

    Missing and further weights, and what is wrong with the file, are left to `run_folder.load_into`.
    """
    try:
        kept = _shapes(run)
    except (FileNotFoundError, safetensors.SafetensorError):
        return
    try:
        with _Bounded(SPARE_CALLS + CALLS * len(kept)), torch.device("meta"):
            model = {name: tensor.shape for name, tensor in build().state_dict().items()}
    except UserError:
        raise
    except (_TooLarge, RuntimeError, ValueError, TypeError, ArithmeticError, AssertionError) as error:
        raise _misfit(run, " ".join(str(error).split())[:80] or "it has too many layers") from error
    spare = sum(shape.numel() for name, shape in model.items() if name not in kept)
    # What is empty in a fresh model is counted in training, and has any size.
    other = [name for name in model.keys() & kept if model[name].numel() and model[name] != kept[name]]
    if other or spare > SPARE_NUMBERS:
        raise _misfit(run, f"other sizes of {min(other)}" if other else "weights are missing")


def _shapes(run: Run) -> Mapping[str, torch.Size]:
    """Return the shapes in the head of model.safetensors."""
    check_regular(run.path / WEIGHTS)
    with safetensors.safe_open(run.path / WEIGHTS, framework="pt") as file:
        return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _misfit(run: Run, reason: str) -> UserError:
    return UserError(
        f"'{run.path / WEIGHTS}' does not fit the model of its {CONFIG} ({reason}); it is of another run, or "
        "one of them is damaged"
    )
