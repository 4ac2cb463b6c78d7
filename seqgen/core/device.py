"""Where to compute: the device and the number of threads that the user asked for."""

import torch

from seqgen.core.errors import UserError


def pick(name: str = "auto") -> torch.device:
    """Return the device named `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    UserError where the name is none of these or this machine has no such device.
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
    """Set torch up for training and sampling: the threads asked for, and denormal numbers flushed to zero.

    Adam's moments of embedding rows that are rarely used decay into denormals, which slow a CPU tenfold.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"--threads {threads}: it must be at least 1")
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
