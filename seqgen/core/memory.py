"""What keeps the memory of a long training flat: bounds of torch's caches, and giving back what is free.

Batches of text come in ever new shapes. For each shape of a product oneDNN, and torch's layer over it, keep
what they compiled, .4 MB a shape and up to 1,024 of them each; so two bounds stand in the environment, which
both read when torch is first used. And what a report has allocated stays with the process, as the GNU C
library gives back only what is free at the end of its heap.
"""

import os
import sys
from collections.abc import MutableMapping
from functools import cache
from typing import Any

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that bound the caches of compiled products, of oneDNN and of torch."""
SHAPES = 64
"""Shapes kept by each; a training has a few dozen that repeat (`seqgen.functional.vocab_projection`)."""


def bound_caches(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bound torch's caches of compiled products, unless the user has; called before torch is imported."""
    for name in CACHES:
        environment.setdefault(name, str(SHAPES))


def release() -> None:
    """Give free memory back to the system, where the C library is GNU's; others do it by themselves."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    """Return the function of the C library that gives free memory back, or None."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # not at the start of every command

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
