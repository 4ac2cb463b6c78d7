"""Run a command and write what it took as JSON: a small process between a benchmark and what it measures.

The peak memory that the system reports of a process is never below that of the process which started it, as
a fork begins with its pages. This one is a script that imports the standard library alone. It passes on the
signal to end, and ends with the exit status of the command.
"""

import json
import os
import signal
import subprocess
import sys
import time
from types import FrameType

MIB = 1 << 20 if sys.platform == "darwin" else 1 << 10
"""What the system counts memory in, in a MiB: bytes on macOS, KiB elsewhere."""


def main() -> int:
    """Run the command of the arguments; its standard output is dropped."""
    start = time.perf_counter()
    asked: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for child in started:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)  # before there is a child, which else would be left alone
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    started.append(child)
    for number in asked:
        child.send_signal(number)
    _, status, usage = os.wait4(child.pid, 0)
    took = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / MIB,
    }
    sys.stdout.write(json.dumps(took))
    return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main())
