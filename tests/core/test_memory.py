"""Memory that stays flat: bounded caches, and what is free given back."""

import platform
from pathlib import Path

import pytest

from seqgen.core import memory

MIB = 1 << 20


def test_caches_are_bounded_unless_the_user_has():
    environment = {"LRU_CACHE_CAPACITY": "7"}
    memory.bound_caches(environment)
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "7"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told to")
def test_what_is_free_between_blocks_in_use_goes_back_to_the_system():
    blocks = [bytes([i % 251]) * 8192 for i in range(13_000)]  # 100 MiB
    kept = blocks[::100]
    blocks.clear()
    before = _resident()
    memory.release()
    assert before - _resident() > 50 * MIB
    assert len(kept) == 130


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
