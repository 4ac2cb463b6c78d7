"""Devices and threads: choosing by name, and what torch needs set before training or sampling."""

import torch

from seqgen.core.errors import UserError


def pick(name: str = "auto") -> torch.device:
    """Return the device named `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raise UserError for any other name, and if this machine has no such device.
    """
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


def prepare(threads: int | None = None) -> None:
    """Set the number of CPU threads (None: torch's choice), and flush denormal numbers to zero.

    Adam's moments of rarely used embedding rows decay to denormal numbers, which slow a CPU down tenfold.
    Raise UserError for less than one thread.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"--threads {threads}: it must be at least 1")
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
