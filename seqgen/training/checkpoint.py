"""What a checkpoint must be like to be resumed: finite weights, and states that fit their optimisers.

torch puts back whatever an optimiser's state holds, and fails in a later step where that is something else.
"""

import math
import pickletools
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

LONGEST_NAME = 100
"""Characters of the module and name of a type in state.pt, at most."""
WAYS = {"foreach", "fused"}
"""Options that say how an optimiser computes, which a checkpoint of another device has otherwise, or not."""
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam keeps of each parameter; AdamW is one."""


def check_archive(file: IO[bytes]) -> None:
    """Raise ValueError where torch's reader would take any memory or time.

    Compressed parts may have any size; and for a name that it does not know, torch searches its own message
    by an expression that takes minutes for a long one.
    """
    with zipfile.ZipFile(file) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("parts of it are compressed, which torch.save does not do")
        for name in archive.namelist():
            if name.endswith("/data.pkl"):
                _check_names(archive.read(name))
    file.seek(0)


def _check_names(pickled: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL" and len(str(argument)) > LONGEST_NAME:
            raise ValueError("it names what torch.save does not")


def check_hooks(value: Any) -> None:
    """Raise ValueError where a tensor came with hooks, which may be anything."""
    if isinstance(value, Tensor):
        if value._backward_hooks:
            raise ValueError("a tensor of it has hooks, which training does not save")
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            check_hooks(inner)


def check_finite(module: nn.Module) -> None:
    """Raise ValueError where a parameter has a number that is not finite."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"numbers of {name} are not finite")


def checked(state: Any, optimizer: Optimizer) -> dict[str, Any]:
    """Return the state of an optimiser, its options completed by those of a fresh one.

    Raise ValueError where an option is of another kind, or a moment of another shape than its parameter.
    """
    fresh = optimizer.state_dict()["param_groups"]
    if not isinstance(state, dict) or not isinstance(state["state"], dict):
        raise ValueError("an optimiser has no state")
    if not isinstance(state["param_groups"], list) or not all(map(_is_dict, state["param_groups"])):
        raise ValueError("an optimiser has no groups of parameters")
    groups = [ours | theirs for ours, theirs in zip(fresh, state["param_groups"], strict=True)]
    for ours, theirs in zip(fresh, groups, strict=True):
        if theirs["params"] != ours["params"]:  # by which torch finds the parameter of each state
            raise ValueError(f"an optimiser has parameters {theirs['params']!r:.40}")
        for name, value in ours.items():
            if not (theirs[name] is None and name in WAYS) and not _is_like(theirs[name], value):
                raise ValueError(f"an optimiser has {name}={theirs[name]!r:.40}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, moments in state["state"].items():
        if isinstance(optimizer, Adam) and not moments.keys() >= MOMENTS:
            raise ValueError(f"an optimiser has no {', '.join(sorted(MOMENTS - moments.keys()))}")
        for name, value in moments.items():
            _check_moment(name, value, torch.Size() if name == "step" else parameters[index].shape)
    return {"state": state["state"], "param_groups": groups}


def _check_moment(name: str, value: Any, shape: torch.Size) -> None:
    if not isinstance(value, Tensor if name in MOMENTS else Tensor | int | float):
        raise ValueError(f"an optimiser has {name}={value!r:.40}")
    if not isinstance(value, Tensor):
        return
    if not (value.is_floating_point() and value.shape == shape):
        raise ValueError(f"an optimiser has {name} of shape {tuple(value.shape)}, not {tuple(shape)}")
    # A fused optimiser takes as many numbers as the parameter has from where the moment begins.
    if value.layout is not torch.strided or not value.is_contiguous() or value.is_meta:
        raise ValueError(f"an optimiser has {name} that is not one after the other in memory")


def check_means(sums: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
    """Raise ValueError where sums of metrics since the last report are no numbers, or of no steps."""
    for name, total in sums.items():
        if not isinstance(total, float) or not isinstance(counts.get(name), int) or counts[name] < 1:
            raise ValueError(f"the sum of {name!r:.40} is {total!r:.40}, of {counts.get(name)!r:.40} steps")


def check_report(report: Mapping[str, Any]) -> None:
    """Raise ValueError where a report holds what is no number; one that was not taken is None."""
    for name, value in report.items():
        if not isinstance(name, str) or not isinstance(value, int | float | None):
            raise ValueError(f"{name!r:.40} of the first report is {value!r:.40}")


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_like(found: Any, fresh: Any) -> bool:
    """Whether an option is of the kind of another; where it is a number, finite."""
    if isinstance(fresh, tuple | list):
        return (
            isinstance(found, tuple | list) and len(found) == len(fresh) and all(map(_is_like, found, fresh))
        )
    if isinstance(fresh, float):
        return isinstance(found, int | float) and math.isfinite(found)
    return isinstance(found, bool | None) if fresh is None else isinstance(found, type(fresh))
