"""Windows lacks flock, SIGHUP, FIFOs, and links that everybody may make: what commands do without."""

import subprocess
import sys

from seqgen.core import signals

WITHOUT = """
import errno, os, signal, sys
import torch, datasets, filelock, sacrebleu, typer, tqdm  # what is not ours finds all of it

os.environ["LOGNAME"] = "someone"  # as Windows has USERNAME, which getpass asks for before it asks for a uid
sys.modules["fcntl"] = sys.modules["resource"] = sys.modules["termios"] = None
del signal.SIGHUP, signal.SIGKILL
signal.Signals = [each for each in signal.Signals if each.name not in ("SIGHUP", "SIGKILL")]
for name in ("O_DIRECTORY", "mkfifo", "fork", "geteuid", "getuid", "sched_getaffinity", "uname"):
    delattr(os, name)

def no_link(*args, **options):
    raise OSError(errno.EPERM, "A required privilege is not held by the client")

os.symlink = os.link = no_link
rename = os.replace

def replace_closed(source, target):
    open_now = {os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")}
    if os.path.realpath(source) in open_now:
        raise PermissionError(errno.EACCES, "The process cannot access the file: it is being used")
    rename(source, target)

os.replace = replace_closed
"""
"""What stands before a program: the system as Windows is, where it differs in what the code uses."""


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code], cwd=folder, capture_output=True, text=True, check=False
    )


COMMANDS = """
from seqgen.cli import main

def seqgen(line):
    sys.argv = ["seqgen", *line.split()]
    try:
        main.main()
    except SystemExit as ended:
        assert not ended.code, (line, ended.code)

small = "--set generator.embedding=5 --set generator.hidden=7 --quiet --threads 1 --steps"
seqgen(f"pretrain --corpus corpus.txt --min-count 1 --run runs/one {small} 3")
seqgen(f"pretrain --corpus corpus.txt --min-count 1 --run runs/two {small} 2")
seqgen(f"pretrain --corpus corpus.txt --min-count 1 --run runs/two {small} 5")
seqgen("sample --n 3 --out samples.txt")
seqgen("sample --n 2 --run runs/latest")
seqgen("runs")
seqgen("evaluate --hyp samples.txt --ref corpus.txt")
seqgen(f"image train vae --set net.hidden=7 --run runs/images --quiet --steps 2")
"""


def test_training_resuming_sampling_and_evaluating_without_them(tmp_path):
    words = ("cat", "dog", "man", "bird", "cow")
    lines = [f"the {one} and the {other} sit\n" for one in words for other in words]
    (tmp_path / "corpus.txt").write_text("".join(lines))
    ended = run(COMMANDS, tmp_path)
    assert ended.returncode == 0, ended.stderr
    runs = tmp_path / "runs"
    assert not (runs / "latest").is_symlink()
    assert (runs / "latest").read_text().splitlines()[1:] == ["images"]
    assert len((tmp_path / "samples.txt").read_text().splitlines()) == 3
    assert len((runs / "two/metrics.jsonl").read_text().splitlines()) > 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_open_is_closed_before_it_is_renamed_or_removed(tmp_path):
    code = """
from pathlib import Path
from seqgen.core.atomic_files import write_atomic, write_text

write_text(Path("a.txt"), "old")
Path(".seqgen-left.tmp").touch()

def fail(file):
    file.write(b"half")
    raise ValueError

try:
    write_atomic(Path("a.txt"), fail)
except ValueError:
    print(sorted(os.listdir()), Path("a.txt").read_text())
"""
    ended = run(code, tmp_path)
    assert ended.stdout == "['.seqgen-left.tmp', 'a.txt'] old\n", ended.stderr


def test_the_signals_that_end_a_process_are_those_that_there_are():
    assert {each.name for each in signals.ENDING} == {"SIGINT", "SIGTERM", "SIGHUP"}
