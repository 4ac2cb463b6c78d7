"""The run folder: atomic writes, and what is said of a folder that is missing, foreign or corrupt."""

import json
from pathlib import Path

import pytest
import torch

from seqgen.core.atomic_files import write_atomic, write_text
from seqgen.core.errors import UserError
from seqgen.training import run_folder

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


def test_latest_names_the_newest_run(tmp_path):
    assert run_folder.latest(tmp_path) is None
    for name in ("one", "two"):
        run_folder.create(tmp_path / name, {"algorithm": "mle"})
        run_folder.mark_latest(tmp_path / name)
    assert run_folder.latest(tmp_path) == tmp_path / "two"
    (tmp_path / "two" / run_folder.CONFIG).unlink()
    (tmp_path / "two").rmdir()
    assert run_folder.latest(tmp_path) is None


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


def test_a_broken_run_does_not_hide_the_others(tmp_path):
    for name in ("a", "b"):
        made = run_folder.create(tmp_path / name, CONFIG)
        (made.path / run_folder.WEIGHTS).write_bytes(b"")
    (tmp_path / "a" / run_folder.CONFIG).write_text("{")
    assert [each.name for each in run_folder.newest_first(tmp_path)] == ["b"]


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
