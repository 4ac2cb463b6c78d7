"""The progress display: TensorBoard's events are a courtesy, written without a thread."""

import errno
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboardX import event_file_writer

from seqgen.cli.progress import Display, Events
from seqgen.training import run_folder
from seqgen.training.loop import Plan, Progress
from seqgen.training.run_folder import Run

ROW = {"step": 3, "tokens_per_second": 7.0, "nll": 1.5}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_folder.create(tmp_path / "r", {"algorithm": "mle"})


def test_events_are_written_when_there_is_a_row_and_by_no_thread(run: Run) -> None:
    display = Display(run, Plan(steps=3, report_every=3, checkpoint_every=3), quiet=True)
    threads = threading.active_count()
    assert not (run.path / "tensorboard").exists()
    display(Progress(step=3, seconds=1.0), ROW)
    assert threading.active_count() == threads
    (events,) = (run.path / "tensorboard").iterdir()
    assert all(name.encode() in events.read_bytes() for name in ROW)
    display.close()


def test_events_that_cannot_be_written_end_no_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def full(self: Any, event: bytes) -> None:
        calls.append(event)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(event_file_writer.RecordWriter, "write", full)
    events = Events(run)
    events.add(ROW, 3)
    events.add(ROW, 6)
    events.close()
    assert len(calls) == 1
    assert capsys.readouterr().err == "TensorBoard's events end here: No space left on device\n"


def test_events_of_a_file_that_fails_as_it_is_closed(run: Run) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    events = Events(run)
    events.writer = SimpleNamespace(close=full)
    events.close()
