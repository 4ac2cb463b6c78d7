"""The run folder: atomic writes, and what is said of a folder that is missing, foreign or corrupt."""

import errno
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
import torch

from seqgen.core.atomic_files import write_atomic, write_text
from seqgen.core.errors import UserError
from seqgen.training import run_folder
from seqgen.training.run_folder import Run

CONFIG = {"algorithm": "mle", "verb": "pretrain", "format": run_folder.FORMAT}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(file):
        file.write(b"half")
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
def test_a_full_disk_says_so_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fill(file):
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(UserError, match=r"no space left on the disk while writing.*stays as it was"):
        write_atomic(path, fill)
    assert path.read_text() == "old"


def test_weights_and_state_come_back_as_they_were(tmp_path):
    made = run_folder.create(tmp_path / "r", {"algorithm": "mle"})
    shared = torch.randn(5, 3)
    run_folder.save_weights(made, {"a": shared, "b": shared, "c": torch.arange(7)})
    weights = run_folder.load_weights(made)
    assert torch.equal(weights["a"], shared)
    assert torch.equal(weights["b"], shared)
    assert weights["c"].tolist() == list(range(7))
    assert run_folder.load_state(made) is None
    run_folder.save_state(made, {"step": 3, "rng": torch.get_rng_state()})
    state = run_folder.load_state(made)
    assert state["step"] == 3
    assert torch.equal(state["rng"], torch.get_rng_state())


def test_reports_after_the_checkpoint_and_torn_lines_are_forgotten(tmp_path):
    made = run_folder.create(tmp_path / "r", {"algorithm": "mle"})
    for step in (2, 4, 6):
        run_folder.append_metrics(made, {"step": step})
    with (made.path / run_folder.METRICS).open("a") as file:
        file.write('{"step": 8, "nl')
    run_folder.forget_after(made, 4)
    assert [row["step"] for row in made.metrics()] == [2, 4]
    assert (made.path / run_folder.METRICS).read_text().count("\n") == 2


def test_what_is_no_run_says_so(tmp_path):
    with pytest.raises(UserError, match=r"no run at.*seqgen pretrain"):
        run_folder.open_run(tmp_path / "absent")
    with pytest.raises(UserError, match=r"not a run folder: it has no config.json"):
        run_folder.open_run(tmp_path)
    (tmp_path / run_folder.CONFIG).write_text("{")
    with pytest.raises(UserError, match="not a seqgen configuration"):
        run_folder.open_run(tmp_path)
    (tmp_path / run_folder.CONFIG).write_text(json.dumps({"other": 1}))
    with pytest.raises(UserError, match="names no algorithm"):
        run_folder.open_run(tmp_path)


@pytest.mark.parametrize("config", [{}, {"format": run_folder.FORMAT + 1}])
def test_a_run_of_another_format_is_refused(tmp_path, config):
    run_folder.create(tmp_path / "r", {"algorithm": "mle", "verb": "pretrain"} | config)
    with pytest.raises(UserError, match=r"is a run of format (None|2), and this version of seqgen reads"):
        run_folder.open_run(tmp_path / "r")
    assert run_folder.open_run(run_folder.create(tmp_path / "s", CONFIG).path).config == CONFIG


def test_corrupt_files_say_so(tmp_path):
    made = run_folder.create(tmp_path / "r", {"algorithm": "mle"})
    with pytest.raises(UserError, match="has no weights yet"):
        run_folder.load_weights(made)
    for content in (b"", b"garbage that is no checkpoint", b"PK\x03\x04 half a zip"):
        (made.path / run_folder.WEIGHTS).write_bytes(content)
        with pytest.raises(UserError, match="corrupt or no safetensors file"):
            run_folder.load_weights(made)
        (made.path / run_folder.STATE).write_bytes(content)
        with pytest.raises(UserError, match=r"state.pt' is corrupt"):
            run_folder.load_state(made)
    torch.save({"weights": torch.rand(5000)}, made.path / run_folder.STATE)
    whole = (made.path / run_folder.STATE).read_bytes()
    for share in (0.2, 0.5, 0.9):  # torch says it in many ways
        (made.path / run_folder.STATE).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"state.pt' is corrupt"):
            run_folder.load_state(made)


def test_reports_without_a_step_are_left_out(tmp_path):
    made = run_folder.create(tmp_path / "r", {"algorithm": "mle", "verb": "pretrain"})
    (made.path / run_folder.METRICS).write_text('{"step": 3}\n{"loss": 1}\n[7]\n{"step": 5}\n{"st')
    assert [row["step"] for row in made.metrics()] == [3, 5]


def test_a_state_with_code_in_it_is_refused(tmp_path):
    made = run_folder.create(tmp_path / "r", {"algorithm": "mle"})
    torch.save({"step": print}, made.path / run_folder.STATE)
    with pytest.raises(UserError, match="is corrupt"):
        run_folder.load_state(made)


def test_one_process_at_a_time(tmp_path):
    with (
        run_folder.locked(tmp_path),
        pytest.raises(UserError, match="another process is training"),
        run_folder.locked(tmp_path),
    ):
        pass


def test_lines_of_a_log_that_are_no_report_are_left_out(tmp_path):
    made = run_folder.create(tmp_path / "r", CONFIG)
    deep = b"[" * 100_000 + b"]" * 100_000
    lines = (
        b'{"step": 2, "nll": 1.5, "odd": "text", "huge": ' + b"9" * 400 + b', "none": null, "inner": [1]}',
        b'{"step": "3"}',
        b'{"step": null}',
        b'{"step": Infinity}',
        b'{"step": true}',
        b'{"step": -1}',
        b'{"step": ' + b"9" * 5000 + b"}",
        b'{"step": ' + b"9" * 50 + b"}",
        b'{"step": 4, "x": "\xff"}',
        b'{"step": 4, "x": ' + deep + b"}",
        deep,
        b"\xff\xfe",
        b'{"step": 6, "valid_ppl": Infinity}',
    )
    (made.path / run_folder.METRICS).write_bytes(b"\n".join(lines))
    assert made.metrics() == [{"step": 2, "nll": 1.5}, {"step": 6, "valid_ppl": math.inf}]
    run_folder.forget_after(made, 5)
    assert made.metrics() == [{"step": 2, "nll": 1.5}]


@pytest.mark.parametrize("target", ["elsewhere", "/dev/null"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, target):
    (tmp_path / run_folder.LOCK).symlink_to(target)
    with pytest.raises(UserError, match=r"\.lock' is no regular file"), run_folder.locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, number):
    made = run_folder.create(tmp_path, CONFIG)
    net = torch.nn.Linear(3, 5)
    run_folder.save_weights(made, net.state_dict() | {"bias": torch.tensor([1, 2, number, 4, 5])})
    with pytest.raises(UserError, match=r"safetensors' is damaged: bias holds numbers that are not finite"):
        run_folder.load_into(net, made)


class Touch:
    """Pickled as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("by", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_no_pickle_of_a_run_is_executed(tmp_path, by):
    made = run_folder.create(tmp_path / "r", CONFIG)
    for name, read in (
        (run_folder.STATE, run_folder.load_state),
        (run_folder.WEIGHTS, run_folder.load_weights),
    ):
        by({"step": Touch(tmp_path / "touched")}, made.path / name)
        with pytest.raises(UserError, match="is corrupt"):
            read(made)
        assert not (tmp_path / "touched").exists()
    os.system(f"touch {tmp_path / 'touched'}")
    assert (tmp_path / "touched").exists()


def test_a_soft_lock_guards_a_folder_whose_disk_has_no_locks(tmp_path, monkeypatch):
    def unsupported(self, *args, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", unsupported)
    for _ in range(2):  # it is given back
        with (
            run_folder.locked(tmp_path),
            pytest.raises(UserError, match=r"another process is training in .*remove '.*\.lock\.pid'"),
            run_folder.locked(tmp_path),
        ):
            pass


def test_a_lock_that_fails_otherwise_says_so(tmp_path, monkeypatch):
    def broken(self, *args, **options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filelock.FileLock, "acquire", broken)
    with pytest.raises(OSError, match="Input/output error"), run_folder.locked(tmp_path):
        pass


def test_a_folder_that_can_only_be_read_is_not_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with run_folder.locked(tmp_path), run_folder.locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["samples", "tensorboard", "state.pt", "samples/step-0000003.txt"])
def test_a_link_that_leads_out_of_a_run_is_refused(tmp_path, name):
    made = run_folder.create(tmp_path / "r", CONFIG)
    (tmp_path / "precious").mkdir()
    (made.path / name).parent.mkdir(exist_ok=True)
    (made.path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(
        UserError, match=f"'{made.path / name}' is a link to '.*precious', outside of the run"
    ):
        made.writable(name)
    with pytest.raises(UserError, match="remove the link"), run_folder.locked(made.path):
        pass
    (made.path / name).unlink()
    (made.path / "own").mkdir()
    (made.path / name).symlink_to(made.path / "own")
    (made.path / "notes").symlink_to(tmp_path)  # a link of the user's own, which nothing writes to
    with run_folder.locked(made.path):
        assert made.writable(name) == made.path / name


@pytest.mark.parametrize("what", ["deleted", "replaced", "moved", "half deleted"])
def test_a_folder_that_is_no_longer_there_is_not_written_to(tmp_path, what):
    path = tmp_path / "r"
    with run_folder.locked(path) as held:
        made = Run(path, CONFIG, held)
        run_folder.write_config(made)
        run_folder.append_metrics(made, {"step": 1})
        if what == "half deleted":
            (path / run_folder.CONFIG).unlink()
        elif what == "moved":
            path.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(path)
        if what == "replaced":
            run_folder.create(path, CONFIG)
        before = sorted(tmp_path.rglob("*"))
        for write in (
            lambda: run_folder.append_metrics(made, {"step": 2}),
            lambda: run_folder.save_state(made, {}),
            lambda: run_folder.save_weights(made, {"a": torch.ones(3)}),
            lambda: made.writable("samples"),
        ):
            with pytest.raises(UserError, match="was deleted, moved or replaced while it was being trained"):
                write()
        assert sorted(tmp_path.rglob("*")) == before
        if what == "moved":
            (tmp_path / "elsewhere").rename(path)
            run_folder.append_metrics(made, {"step": 2})
            assert [row["step"] for row in made.metrics()] == [1, 2]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_file_that_the_system_cannot_read_is_not_called_corrupt(tmp_path, monkeypatch, number):
    made = run_folder.create(tmp_path / "r", CONFIG)
    run_folder.save_weights(made, {"a": torch.ones(3)})
    run_folder.save_state(made, {"step": 3})
    opened = Path.open

    def refuse(path, *args, **options):
        if path.suffix in (".pt", ".safetensors"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    for read, name in ((run_folder.load_weights, "model.safetensors"), (run_folder.load_state, "state.pt")):
        with pytest.raises(UserError, match=f"cannot read '.*{name}': {os.strerror(number)}") as caught:
            read(made)
        assert "keep it" in str(caught.value)
        assert "corrupt" not in str(caught.value)


def test_a_lack_of_memory_is_not_called_corrupt(tmp_path, monkeypatch):
    made = run_folder.create(tmp_path / "r", CONFIG)
    run_folder.save_state(made, {"step": 3})

    def too_much(*args, **options):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7"
        )

    monkeypatch.setattr(torch, "load", too_much)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run_folder.load_state(made)


def test_no_message_advises_to_delete(tmp_path):
    made = run_folder.create(tmp_path / "r", CONFIG)
    messages = []
    for content in (None, b"garbage"):
        for name, read in (
            (run_folder.WEIGHTS, run_folder.load_weights),
            (run_folder.STATE, run_folder.load_state),
        ):
            if content is not None:
                (made.path / name).write_bytes(content)
            try:
                read(made)
            except UserError as error:
                messages.append(str(error))
    assert len(messages) == 3
    assert not any("delete" in message for message in messages)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
def test_a_disk_that_is_full_as_the_state_is_written_says_so(tmp_path, monkeypatch):
    made = run_folder.create(tmp_path / "r", CONFIG)
    run_folder.save_state(made, {"step": 3})
    opened = Path.open

    def full(path, mode="r", *args, **options):
        return (
            opened(Path("/dev/full"), "wb") if path.suffix == ".tmp" else opened(path, mode, *args, **options)
        )

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        UserError, match=r"no space left on the disk while writing '.*state\.pt', which stays"
    ):
        run_folder.save_state(made, {"weights": torch.rand(500_000)})
    monkeypatch.undo()
    assert run_folder.load_state(made) == {"step": 3}


SAVE = """
import resource, sys, torch
from pathlib import Path
from seqgen.training.run_folder import Run, save_state
state = {"weights": torch.ones(50_000_000)}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
save_state(Run(Path(sys.argv[1]), {}), state)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_state_is_not_held_twice_while_it_is_saved(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (tmp_path / run_folder.STATE).stat().st_size > 200_000_000
    assert int(done.stdout) < 50_000  # kibibytes, of a state of 195,000
