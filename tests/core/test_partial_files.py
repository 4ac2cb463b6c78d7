"""Parts of files: kept where writing stops, gone on from by the same settings alone, gone at the end."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqgen.core import partial_files
from seqgen.core.errors import UserError
from seqgen.core.partial_files import SAVE_SECONDS, partial_file

SETTINGS = {"seed": 3, "names": ["a", "b"], "none": None}


class Stopped(BaseException):
    """As an ending signal raises one."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_stop(path: Path, marked: list[bytes], rest: bytes) -> None:
    with partial_file(path, SETTINGS) as part:
        before = 0 if part.position is None else part.position["pieces"]
        for number, piece in enumerate(marked, before + 1):
            part.write(piece)
            part.mark({"pieces": number})
        part.write(rest)
        raise Stopped


def write(path: Path, piece: bytes) -> None:
    with partial_file(path, SETTINGS) as part:
        part.write(piece)
        part.mark({"pieces": 1})


def stop_after(path: Path, marked: list[bytes], rest: bytes = b"") -> None:
    """Write and mark pieces, the position being their number, then more bytes, and stop."""
    with pytest.raises(Stopped):
        write_and_stop(path, marked, rest)


def test_what_is_written_to_the_end_alone_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        assert part.position is None
        part.write(b"new ")
        part.mark({"pieces": 1})
        part.write("Ωhole".encode())
        assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new Ωhole"


def test_writing_goes_on_behind_the_last_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    stop_after(path, [b"one,", b"two,"], b"thr")
    assert names(tmp_path) == ["a.txt.part", "a.txt.part.json"]
    with partial_file(path, dict(reversed(SETTINGS.items()))) as part:
        assert part.position == {"pieces": 2}
        assert part.read() == b"one,two,"
        part.write(b"three")
    assert path.read_bytes() == b"one,two,three"
    assert names(tmp_path) == ["a.txt"]


def test_stopped_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    stop_after(path, [b"one,"])
    stop_after(path, [b"two,"])
    stop_after(path, [], b"nothing whole")
    with partial_file(path, SETTINGS) as part:
        assert (part.position, part.read()) == ({"pieces": 2}, b"one,two,")


def test_nothing_is_left_of_what_was_never_marked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    stop_after(tmp_path / "a.txt", [], b"half a piece")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_mark_reaches_the_disk_now_and_then(tmp_path: Path) -> None:
    now = [0.0]
    with partial_file(tmp_path / "a.txt", SETTINGS, clock=lambda: now[0]) as part:
        on_disk = []
        for seconds in (0.3, 0.8, 1.1, 1.9, 2.2):
            now[0] = seconds * SAVE_SECONDS
            part.write(b"7 bytes")
            part.mark({})
            on_disk.append(json.loads((tmp_path / "a.txt.part.json").read_text())["bytes"])
        assert on_disk == [0, 0, 21, 21, 35]
        assert (tmp_path / "a.txt.part").stat().st_size >= 35  # of a mark the bytes are there before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**SETTINGS, "seed": 4}, r"a.txt.part' was begun with seed 3, not 4; run that command again, or"),
        ({"seed": 3, "names": ["a", "b"]} | {"more": 1}, "was begun with more None, not 1; run that command"),
        (
            {**SETTINGS, "names": ["b" * 99]},
            r"begun with names \['a', 'b'\], not \['bbbbbbbbbbbbbbbbbb…; run",
        ),
    ],
)
def test_other_settings_are_refused_and_the_part_stays(tmp_path: Path, settings: dict, message: str) -> None:
    stop_after(tmp_path / "a.txt", [b"one,"])
    with pytest.raises(UserError, match=message), partial_file(tmp_path / "a.txt", settings):
        pytest.fail("it was begun")
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        assert part.position == {"pieces": 1}


def test_other_settings_begin_anew_where_nothing_is_whole(tmp_path: Path) -> None:
    kill_after(tmp_path, marks=0)
    assert names(tmp_path) == ["a.txt.part", "a.txt.part.json"]
    with partial_file(tmp_path / "a.txt", {"seed": 4}) as part:
        assert (part.position, part.read()) == (None, b"")
        part.write(b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_part_that_was_deleted_begins_anew_whatever_its_mark_says(tmp_path: Path) -> None:
    for settings in (SETTINGS, {"seed": 4}):
        stop_after(tmp_path / "a.txt", [b"one,"])
        (tmp_path / "a.txt.part").unlink()
        with partial_file(tmp_path / "a.txt", settings) as part:
            assert (part.position, part.read()) == (None, b"")
        assert names(tmp_path) == ["a.txt"]


def test_a_kill_after_the_file_has_its_name_is_of_no_consequence(tmp_path: Path) -> None:
    kill_after(tmp_path, marks=3, code=KILLED_AT_THE_END)
    assert names(tmp_path) == ["a.txt", "a.txt.part.json"]
    assert (tmp_path / "a.txt").read_bytes() == b"piece 1,piece 2,piece 3,"
    with partial_file(tmp_path / "a.txt", {"seed": 4}) as part:
        part.write(b"new")
    assert names(tmp_path) == ["a.txt"]


def test_a_stop_after_the_file_has_its_name_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place = partial_files.put_in_place

    def put_and_stop(*arguments: Any) -> None:
        put_in_place(*arguments)
        raise Stopped

    monkeypatch.setattr(partial_files, "put_in_place", put_and_stop)
    with pytest.raises(Stopped):
        write(tmp_path / "a.txt", b"one,")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("damage", [b"onE,two,", b"one,"])
def test_a_part_that_has_changed_is_refused(tmp_path: Path, damage: bytes) -> None:
    stop_after(tmp_path / "a.txt", [b"one,", b"two,"])
    (tmp_path / "a.txt.part").write_bytes(damage)
    with (
        pytest.raises(UserError, match=r"a.txt.part' has changed since it was written; delete it"),
        partial_file(tmp_path / "a.txt", SETTINGS),
    ):
        pytest.fail("it was begun")
    assert (tmp_path / "a.txt.part").read_bytes() == damage


@pytest.mark.parametrize("mark", [None, "{", '{"bytes": 3}', '{"a": 1}'])
def test_a_file_that_is_no_part_is_not_overwritten(tmp_path: Path, mark: str | None) -> None:
    (tmp_path / "a.txt.part").write_text("mine")
    if mark is not None:
        (tmp_path / "a.txt.part.json").write_text(mark)
    with (
        pytest.raises(UserError, match=r"a.txt.part' is in the way, and no part to go on from; delete or"),
        partial_file(tmp_path / "a.txt", SETTINGS),
    ):
        pytest.fail("it was begun")
    assert (tmp_path / "a.txt.part").read_text() == "mine"


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        part.write(b"one")
        with (
            pytest.raises(UserError, match=r"another process writes '.*a.txt'; wait for it, or name another"),
            partial_file(tmp_path / "a.txt", SETTINGS),
        ):
            pytest.fail("it was begun")
    assert (tmp_path / "a.txt").read_bytes() == b"one"


def test_a_link_stays_and_the_longest_name_has_a_part(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / ("n" * 255), tmp_path / "link"
    link.symlink_to(target)
    stop_after(link, [b"one,"])
    assert len(names(tmp_path / "there")) == 2
    with partial_file(link, SETTINGS) as part:
        part.write(b"two")
    assert link.is_symlink()
    assert target.read_bytes() == b"one,two"
    assert names(tmp_path / "there") == [target.name]


WRITER = """
import os, sys
from pathlib import Path
from seqgen.core import partial_files
partial_files.SAVE_SECONDS = 0.0
with partial_files.partial_file(Path("a.txt"), {settings!r}) as part:
    for number in range(1, {marks} + 1):
        part.write(b"piece %d," % number)
        part.mark({{"pieces": number}})
    part.write(b"half a" * 10_000)
    os.kill(os.getpid(), {signal})
"""


KILLED_AT_THE_END = """
import os
from pathlib import Path
from seqgen.core import partial_files
partial_files.SAVE_SECONDS = 0.0
put_in_place = partial_files.put_in_place
partial_files.put_in_place = lambda *given: (put_in_place(*given), os.kill(os.getpid(), {signal}))
with partial_files.partial_file(Path("a.txt"), {settings!r}) as part:
    for number in range(1, {marks} + 1):
        part.write(b"piece %d," % number)
        part.mark({{"pieces": number}})
"""


def kill_after(folder: Path, *, marks: int, code: str = WRITER) -> None:
    code = code.format(settings=SETTINGS, marks=marks, signal=int(signal.SIGKILL))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, check=False)
    assert done.returncode == -signal.SIGKILL


def test_after_kill_9_writing_goes_on_behind_the_last_mark(tmp_path: Path) -> None:
    kill_after(tmp_path, marks=3)
    assert (tmp_path / "a.txt.part").stat().st_size > 27
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        assert part.position == {"pieces": 3}
        part.write(b"end")
    assert (tmp_path / "a.txt").read_bytes() == b"piece 1,piece 2,piece 3,end"


def test_a_full_disk_keeps_what_is_whole_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(tmp_path / "a.txt", [b"one,"])

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = r"no space left on the disk while writing '.*a.txt', the whole part of which is kept; make"
        with pytest.raises(UserError, match=message):
            write_and_stop(tmp_path / "a.txt", [b"two,"], b"")
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        assert part.position == {"pieces": 1}


def test_after_a_fault_of_the_disk_the_mark_before_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(tmp_path / "a.txt", [b"one,"])
    fsync, faults = os.fsync, [errno.EIO]

    def faulty(file: int) -> None:
        if not faults:
            return fsync(file)
        os.ftruncate(file, os.fstat(file).st_size - 3)  # some of it never reached the disk
        raise OSError(faults.pop(), "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", faulty)
        with pytest.raises(OSError, match=r"Input/output error: '.*a.txt'"):
            write(tmp_path / "a.txt", b"two,")
    with partial_file(tmp_path / "a.txt", SETTINGS) as part:
        assert (part.position, part.read()) == ({"pieces": 1}, b"one,")
