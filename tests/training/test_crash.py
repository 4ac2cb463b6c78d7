"""Every command killed at random moments and inside its writes, then run again: see `crash_trials.py`."""

import subprocess
import sys
from pathlib import Path

import pytest
from crash_trials import TRIALS

SCRIPT = Path(__file__).resolve().parents[1] / "crash_trials.py"


@pytest.mark.parametrize("command", TRIALS)
def test_nothing_is_lost_by_kills_and_faults_of_the_disk(command):
    # In a process of its own: the script forks, which one that has threads must not.
    options = ["--kills", "3", "--faults", "3", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPT, command, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{command}: 3 kills")
