"""Devices and threads: choosing by name, and what torch needs set before training or sampling."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from seqgen.core import distributed
from seqgen.core.errors import UserError

WITHOUT_FLOAT64 = frozenset({"mps"})
"""The kinds of device that have no float64: torch raises an error where a tensor of it is made there."""
OMP_PAUSE_HARD = 2
"""The kind of pause, of the OpenMP standard, that also ends the threads."""
MOST_THREADS = 1024
"""More than any machine has cores; torch crashes where it cannot start as many as it is told."""


def pick(name: str = "auto") -> torch.device:
    """Return the device named `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Of several processes that train together each has the CUDA device of its own number. Raise UserError for
    any other name, and if this machine has no such device.
    """
    if distributed.count() > 1:
        return _pick_own(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            found = f"{count} CUDA device{'s' * (count != 1)}" if count else "no CUDA device"
            raise UserError(
                f"--device {name}: torch {torch.__version__} finds {found} here; use --device cpu"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                f"--device {name}: torch {torch.__version__} finds no MPS device here; use --device cpu"
            )
    elif device.type != "cpu":
        raise UserError(f"no device '{name}'; allowed: auto, cpu, cuda, cuda:N, mps")
    return device


def _pick_own(name: str) -> torch.device:
    """Return the device of one of several processes; UserError where there is none for each."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise UserError(
            f"--device {name}: several processes take --device cpu, or cuda, of which each has its own; "
            "leave --device out, or start one process"
        )
    own, found = distributed.local_rank(), torch.cuda.device_count()
    if own >= found:
        raise UserError(
            f"this machine has {found} CUDA devices and at least {own + 1} processes; give torchrun "
            f"--nproc-per-node {found}, or use --device cpu"
        )
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


def is_host(device: torch.device) -> bool:
    """Whether the host can look at a tensor of this device without waiting for anything.

    Only there do loops leave out rows that have ended or padding: on an accelerator the look costs more than
    the rows, so all shapes are fixed and masks say what counts.
    """
    return device.type == "cpu"


def leaves_out(device: torch.device) -> bool:
    """Whether a step may leave out rows by what it finds in them: on the host, in one process.

    Where a batch is divided among processes all shapes are the same on each of them, as are the random
    numbers that are drawn for these shapes.
    """
    return is_host(device) and distributed.shards() == 1


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return a float64 copy, or a float32 one on MPS, which has no wider type."""
    return tensor.float() if tensor.device.type in WITHOUT_FLOAT64 else tensor.double()


def wait(device: torch.device) -> None:
    """Wait for what a device is still computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def autocast(device: torch.device, *, bf16: bool) -> AbstractContextManager[object]:
    """Run the networks in bfloat16 where that is asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext()


def prepare(threads: int | None = None) -> None:
    """Set the number of CPU threads (None: torch's choice), and flush denormal numbers to zero.

    Adam's moments of rarely used embedding rows decay to denormal numbers, which slow a CPU down tenfold.
    Raise UserError for less than one thread, or more than `MOST_THREADS`.
    """
    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise UserError(f"--threads {threads}: it must be at least 1 and at most {MOST_THREADS:,}")
        torch.set_num_threads(threads)
    flush_denormals()


def flush_denormals() -> None:
    """Take denormal numbers for zero from now on, in this thread and in those that compute for it.

    A thread takes this over from the one that starts it. So those of OpenMP that torch already has, in a
    program that has used it before, are ended; torch starts new ones when it next needs them.
    """
    torch.set_flush_denormal(True)
    if sys.platform.startswith("linux"):
        import ctypes  # not at the start of every command

        if (end_threads := getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)) is not None:
            end_threads(OMP_PAUSE_HARD)
