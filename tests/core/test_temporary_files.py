"""Temporary files: those of a killed writer are removed by the next process, those of a living one stay."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from seqgen.core import temporary_files
from seqgen.core.atomic_files import write_text
from seqgen.core.temporary_files import NAMES, remove_abandoned, replace_link, temporary_file

WRITER = """
import sys
from pathlib import Path
from seqgen.core.atomic_files import write_atomic

def write(file):
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    sys.stdin.readline()
    file.write(b" and all")

write_atomic(Path(sys.argv[1]), write)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing `a.txt`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "a.txt")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "written\n"
    yield process
    process.kill()
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_of_a_killed_writer_is_removed_by_the_next_one(writer, tmp_path):
    (left,) = tmp_path.glob(NAMES)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert left.read_bytes() == b"half"
    write_text(tmp_path / "b.txt", "new")
    assert names(tmp_path) == ["b.txt"]


def test_the_file_of_a_living_writer_stays(writer, tmp_path):
    write_text(tmp_path / "b.txt", "new")
    assert len(list(tmp_path.glob(NAMES))) == 1
    assert writer.communicate("\n", timeout=60)[0] == ""
    assert names(tmp_path) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == "half and all"


def test_other_files_stay(tmp_path):
    others = [".a.txt.123.tmp", ".seqgen.tmp", "seqgen-1.tmp"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".seqgen-folder.tmp").mkdir()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == sorted([*others, ".seqgen-folder.tmp"])


def test_a_file_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, seen = fcntl.flock, []

    def late(file, how):
        (path,) = tmp_path.glob(NAMES)
        seen.append(path)
        if len(seen) == 1:
            path.unlink()
        lock(file, how)

    monkeypatch.setattr(temporary_files.fcntl, "flock", late)
    with temporary_file(tmp_path) as (path, file):
        assert seen[1] == path
        assert os.fstat(file.fileno()).st_nlink == 1
    assert seen[0] != seen[1]
    assert names(tmp_path) == []


def test_a_name_as_long_as_can_be_is_written(tmp_path):
    name = "a" * 255
    write_text(tmp_path / name, "new")
    assert names(tmp_path) == [name]


def test_a_link_is_replaced_and_one_left_behind_is_removed(tmp_path):
    (tmp_path / ".seqgen-0.tmp").touch()
    (tmp_path / ".seqgen-0-link.tmp").symlink_to("gone")
    with (tmp_path / ".seqgen-1.tmp").open("xb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (tmp_path / ".seqgen-1-link.tmp").symlink_to("of another writer")
        for target in ("one", "two"):
            replace_link(tmp_path / "latest", target)
            assert os.readlink(tmp_path / "latest") == target
        assert names(tmp_path) == [".seqgen-1-link.tmp", ".seqgen-1.tmp", "latest"]
