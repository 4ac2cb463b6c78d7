"""What `torchrun` says in the environment of every process that it starts; read without torch."""

import os

SAID = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def is_launched() -> bool:
    """Whether this process is one of several that were started to work together."""
    return all(name in os.environ for name in SAID) and int(os.environ["WORLD_SIZE"]) > 1


def is_first() -> bool:
    """Whether this process is the first of them, or the only one."""
    return not is_launched() or os.environ["RANK"] == "0"
