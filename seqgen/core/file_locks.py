"""File systems that have no locks, as some disks of a network."""

import errno

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What such a disk answers; where the system itself has none, filelock raises NotImplementedError."""


def is_without_locks(error: Exception) -> bool:
    """Whether a lock could not be taken because there are none, not because of another failure."""
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in NO_LOCKS)
