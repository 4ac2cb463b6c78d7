"""Networks compiled by torch (`--compile`): their arithmetic between large products fused into few kernels.

A class of networks names the methods that are worth it as `compiled`; recurrent layers, which have kernels of
their own, are not. A compiled method takes its compiled form while gradients are recorded, which is within a
step of training; samples, reports and penalties on a gradient, which is differentiated again, are computed as
ever. Random numbers are those of the plain form, so that a training differs by rounding alone. Names of
weights, checkpoints and copies of a network are those without compilation.
"""

import contextlib
import copy
import importlib.util
import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import MethodType
from typing import Any

import torch
from torch import nn

from seqgen.core import distributed
from seqgen.core.errors import Notice, UserError

NAMES = "compiled"
"""The attribute of a network's class that lists the methods to compile."""
_is_plain: ContextVar[bool] = ContextVar("_is_plain", default=False)


def obstacle(device: torch.device) -> str | None:
    """Say in a line why nothing can be compiled for a device here; None where it can be."""
    if device.type == "cuda":
        has_triton = importlib.util.find_spec("triton") is not None
        lacks = _missing_compiler("CC", "gcc", "cc") if has_triton else "Triton"
    elif device.type == "cpu":
        default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
        lacks = _missing_compiler("CXX", default)
    else:
        lacks = f"a compiler for {device.type}"
    return f"--compile: {lacks} is not here; training goes on without compilation" if lacks else None


def notes(model: nn.Module) -> list[str]:
    """Say in a line where a model has nothing to compile."""
    if any(getattr(type(module), NAMES, ()) for module in model.modules()):
        return []
    return ["--compile: there is nothing to compile; recurrent layers have kernels of their own"]


def compile_networks(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile the networks within a model, each at its first call; called once the model is on its device.

    Where one cannot be compiled it stays as it is, with one warning, a `Notice`, for all of its class.
    backend: one of torch's: `inductor` needs a compiler of the machine, `eager` and `aot_eager` none.
    """
    _prepare()
    distributed.be_patient()
    failed: set[type] = set()
    for module in model.modules():
        for name in getattr(type(module), NAMES, ()):
            # Of any length at once: else each length of a batch would be compiled anew.
            options: dict[str, Any] = {"fallback_random": True} if backend == "inductor" else {}
            plain = getattr(module, name)
            fast = torch.compile(plain, dynamic=True, backend=backend, options=options or None)
            setattr(module, name, _Compiled(module, plain, fast, failed))


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Call compiled methods in their plain form, which can be differentiated twice, within a `with` block."""
    token = _is_plain.set(True)
    try:
        yield
    finally:
        _is_plain.reset(token)


@contextlib.contextmanager
def explained(is_compiled: bool) -> Iterator[None]:
    """Raise UserError where a backward pass, which is met too late to do without, cannot be compiled."""
    if not is_compiled:
        yield
        return
    try:
        yield
    except _errors() as error:
        raise UserError(
            f"--compile: a backward pass cannot be compiled ({_first_line(error)}); the same command without "
            "--compile goes on from the last checkpoint"
        ) from error


class _Compiled:
    """A method of a network in both forms."""

    def __init__(
        self, module: nn.Module, plain: MethodType, fast: Callable[..., Any], failed: set[type]
    ) -> None:
        self.module, self.plain, self.fast, self.failed = module, plain, fast, failed

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Do what the method does."""
        if not torch.is_grad_enabled() or _is_plain.get() or type(self.module) in self.failed:
            return self.plain(*args, **named)
        try:
            return self.fast(*args, **named)
        except _errors() as error:
            self.failed.add(type(self.module))
            name = type(self.module).__name__.lstrip("_")
            warnings.warn(f"--compile: {name} stays as it is: {_first_line(error)}", Notice, stacklevel=2)
        return self.plain(*args, **named)

    def __deepcopy__(self, memo: dict[int, Any]) -> MethodType:
        """Return the plain method of the network's copy, which is being made."""
        return MethodType(self.plain.__func__, copy.deepcopy(self.module, memo))


def _missing_compiler(variable: str, *names: str) -> str | None:
    """Return what to call the compiler that torch would start, if it is not there."""
    asked = shlex.split(os.environ.get(variable, ""))[:1]
    candidates = asked or list(names)
    return None if any(map(shutil.which, candidates)) else f"the compiler {candidates[0]}"


def _prepare() -> None:
    """Set what of torch's compiler is for the whole process: what it says, and what backward passes keep."""
    import torch._functorch.config as backward_passes

    # Several losses share a graph, whose passes must not write into what they read.
    backward_passes.donated_buffer = False
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\._(dynamo|inductor|functorch)")
    if "TORCH_LOGS" not in os.environ:
        for of in ("torch._dynamo", "torch._inductor", "torch._functorch"):
            logging.getLogger(of).setLevel(logging.ERROR)


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of torch's compiler."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    return TorchDynamoException, CppCompileError, InvalidCxxCompiler


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
