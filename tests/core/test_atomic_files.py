"""Where a file is written: whole or not at all, through links, and in place where it is no regular file."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen.core.atomic_files import is_written_in_place, write_bytes, write_text
from seqgen.core.errors import UserError


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there/target.txt", tmp_path / "link.txt"
    link.symlink_to("there/target.txt")
    write_text(link, "into a target that was not there")
    assert target.read_text() == "into a target that was not there"
    write_text(link, "new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["target.txt"]


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    for path in (fifo, link):
        write_bytes(path, b"\x00\xffseven")
        assert os.read(reader, 100) == b"\x00\xffseven"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "link"]


@pytest.mark.parametrize("minor", [3, 7], ids=["null", "full"])
def test_a_device_survives(tmp_path: Path, minor: int) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, minor))
        device.write_bytes(b"")
    except PermissionError:
        pytest.skip("only root makes devices")
    if minor == 3:
        write_bytes(device, b"gone")
    else:
        with pytest.raises(UserError, match=f"no space left on the disk while writing '{device}'; make room"):
            write_bytes(device, b"too much")
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no files of a process in /proc")
def test_what_standard_output_is_redirected_to_is_not_replaced(tmp_path: Path) -> None:
    stdout = tmp_path / "stdout"  # as /dev/stdout is one, which a test that fails would replace
    stdout.symlink_to("/proc/self/fd/1")
    code = "import sys; from pathlib import Path; from seqgen.core.atomic_files import write_text; "
    code += "write_text(Path(sys.argv[1]), 'more\\n')"
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    inode = log.stat().st_ino
    with log.open("a") as file:
        subprocess.run([sys.executable, "-c", code, str(stdout)], stdout=file, check=True)
    assert log.read_text() == "before\nmore\n"
    assert log.stat().st_ino == inode


def test_an_ordinary_file_is_replaced_and_a_folder_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert not is_written_in_place(path)
    write_text(path, "old")
    before = path.open()
    write_text(path, "new")
    assert (before.read(), path.read_text()) == ("old", "new")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "text")
