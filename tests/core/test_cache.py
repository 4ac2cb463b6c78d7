"""The cache folder: entries are complete or absent, even if writers are killed or work at once."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from seqgen.core import cache
from seqgen.core.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))


def write_five(folder: Path) -> None:
    (folder / "data").write_bytes(b"12345")


def refuse(folder: Path) -> None:
    raise AssertionError("written a second time")


def test_folder_is_the_variable_then_xdg_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", "/a/b")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("HOME", "/h")
    assert cache.folder() == Path("/a/b")
    monkeypatch.delenv("SEQGEN_CACHE")
    assert cache.folder() == Path("/x/seqgen")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path("/h/.cache/seqgen")


def test_an_entry_is_written_once() -> None:
    first = cache.entry("kind", "key", write_five)
    assert cache.entry("kind", "key", refuse) == first
    assert (first / "data").read_bytes() == b"12345"


def test_a_failing_fill_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        write_five(folder)
        raise UserError("bad source")

    with pytest.raises(UserError, match="bad source"):
        cache.entry("kind", "key", fail)
    assert list((cache.folder() / "kind").iterdir()) == []


def test_a_damaged_entry_is_written_again() -> None:
    place = cache.entry("kind", "key", write_five)
    (place / "data").write_bytes(b"123")
    assert (cache.entry("kind", "key", write_five) / "data").read_bytes() == b"12345"


def test_a_killed_process_leaves_no_entry() -> None:
    code = """
        import os, signal
        from seqgen.core import cache
        def fill(folder):
            (folder / "data").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        cache.entry("kind", "key", fill)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[0] for path in (cache.folder() / "kind").iterdir()] == ["."]
    assert (cache.entry("kind", "key", write_five) / "data").read_bytes() == b"12345"


def test_what_a_process_killed_long_ago_left_is_swept() -> None:
    old, new = cache.folder() / "kind" / ".old", cache.folder() / "kind" / ".new"
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, time.time() - cache.ABANDONED - 60))
    cache.entry("kind", "key", write_five)
    assert not old.exists()
    assert new.exists()


def test_an_entry_finished_by_another_process_meanwhile_is_used() -> None:
    def overtaken(folder: Path) -> None:
        cache.entry("kind", "key", write_five)
        (folder / "data").write_bytes(b"later")

    assert (cache.entry("kind", "key", overtaken) / "data").read_bytes() == b"12345"
    assert [path.name for path in (cache.folder() / "kind").iterdir()] == ["key"]


def test_a_write_that_fails_names_the_folder_and_the_variable() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(UserError, match=rf"{cache.folder()}: File too large; .*SEQGEN_CACHE"):
            cache.entry("kind", "key", lambda folder: (folder / "data").write_bytes(bytes(2_000)) and None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_be_made_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write the cache folder .*Not a directory"):
        cache.entry("kind", "key", write_five)


def test_an_empty_file_maps_to_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert cache.map_array(tmp_path / "empty", "int64").shape == (0,)


@pytest.mark.parametrize("given", [None, "~nobody-of-this-name/cache"])
def test_without_a_home_folder_one_is_asked_for(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    def unknown(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is None:
        monkeypatch.delenv("SEQGEN_CACHE")
    else:
        monkeypatch.setenv("SEQGEN_CACHE", given)
    with pytest.raises(UserError, match=r"no home folder is known .* set HOME to one, or SEQGEN_CACHE"):
        cache.folder()


def test_a_change_of_the_same_size_is_noticed() -> None:
    place = cache.entry("kind", "key", write_five)
    (place / "data").write_bytes(b"12346")
    os.utime(place / "data", (0, 0))
    assert (cache.entry("kind", "key", write_five) / "data").read_bytes() == b"12345"


@pytest.mark.parametrize("damage", ["remove", "add", "list", "old list"])
def test_every_damage_heals(damage: str) -> None:
    place = cache.entry("kind", "key", write_five)
    if damage == "remove":
        (place / "data").unlink()
    elif damage == "add":
        (place / "more").write_bytes(b"")
    else:
        (place / cache.FILES).write_text('["data"]' if damage == "list" else '{"data": 5}')
    assert (cache.entry("kind", "key", write_five) / "data").read_bytes() == b"12345"
    assert {path.name for path in place.iterdir()} == {"data", cache.FILES}


def test_an_entry_is_hashed_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.entry("kind", "key", write_five)
    cache.entry("kind", "key", refuse)
    monkeypatch.setattr(cache.hashlib, "file_digest", refuse)
    cache.entry("kind", "key", refuse)


def test_a_fresh_entry_of_another_process_is_not_removed() -> None:
    """Processes that find the same entries damaged at once: each reads what any of them has written."""
    keys = range(211)
    for key in keys:
        (cache.entry("kind", str(key), write_five) / "data").write_bytes(b"torn!")
    code = f"""
        import sys
        from seqgen.core import cache
        def fill(folder):
            (folder / "data").write_bytes(b"12345")
        print("ready", flush=True)
        sys.stdin.readline()
        for key in {keys}:
            place = cache.entry("kind", str(key), fill)
            assert (place / "data").read_bytes() == b"12345"
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for each in started:
        assert each.stdout.readline() == b"ready\n"
    for each in started:
        each.stdin.write(b"go\n")
        each.stdin.flush()
    shown = [each.communicate(timeout=60)[1].decode() for each in started]
    assert [each.returncode for each in started] == [0, 0, 0], shown


def test_a_file_system_without_locks_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_lock(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache.FileLock, "acquire", refuse_lock)
    assert (cache.entry("kind", "key", write_five) / "data").read_bytes() == b"12345"
