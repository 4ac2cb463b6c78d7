"""The progress display: metrics, samples and a bar that fit; TensorBoard's events, by no thread."""

import errno
import io
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboardX import event_file_writer

from seqgen.cli import progress as shown_progress
from seqgen.cli import terminal
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


PLAN = Plan(steps=18_000, report_every=3, checkpoint_every=3)
LONG = {
    "step": 3,
    "tokens_per_second": 123_456.0,
    **{name: 1234.5 for name in shown_progress.SHOWN},
    "collapsed": 1.0,
}


class Fake(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


def write_samples(run: Run, text: str, step: int = 3) -> None:
    (run.path / "samples").mkdir(exist_ok=True)
    (run.path / f"samples/step-{step:07d}.txt").write_text(text, encoding="utf-8")


def display(run: Run, metrics: dict[str, float], *, step: int = 3, quiet: bool = False) -> None:
    shown = Display(run, PLAN, quiet=quiet)
    shown(Progress(step=step, seconds=2.0), metrics)
    shown(Progress(step=step + 1, seconds=2.5), None)
    shown.bar.refresh()
    shown.close()


@pytest.mark.parametrize("columns", [80, 61, 200])
@pytest.mark.parametrize("metrics", [ROW, LONG], ids=["few", "many"])
def test_the_bar_and_all_beside_it_fit_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int, metrics: dict[str, float]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stderr", err := Fake())
    write_samples(run, "a cat " * 50 + "\n" + "床前明月光" * 30 + "\n")
    display(run, metrics)
    written = [part for line in err.getvalue().split("\n") for part in line.split("\r") if part.strip()]
    bars = [part for part in written if "%|" in part]
    assert len(bars) >= 3
    assert max(map(terminal.columns, written)) <= columns
    assert {len(bars[0]), max(map(len, bars))} == {columns - 1}
    for bar in bars:  # neither the steps nor a metric is cut
        assert "/18000  " in bar
        assert " left" in bar
    beside = "nll 1.500" if metrics is ROW else "nll 1234.500" if columns == 61 else "valid_recon 1234.500"
    assert f" left, {beside}" in bars[-1]
    assert bars[-1].endswith(("1234.500", "1.500"))


def test_time_left_is_unknown_before_the_first_step_and_never_none_before_the_last(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = shown_progress.time_left
    assert left(Progress(step=0, seconds=0.0), PLAN) == "time left unknown"
    assert left(Progress(step=0, seconds=3.0), PLAN) == "time left unknown"
    assert left(Progress(step=6_000, seconds=50.0), PLAN) == "01:40 left"
    assert left(Progress(step=17_999, seconds=50.0), PLAN) == "00:01 left"
    assert left(Progress(step=18_000, seconds=50.0), PLAN) == "00:00 left"
    monkeypatch.setattr(sys, "stderr", err := Fake())
    shown = Display(run, PLAN, quiet=False)
    shown(Progress(), {"step": 0, "tokens_per_second": 0.0, "valid_nll": 7.0})
    shown.bar.refresh()
    shown.close()
    assert "step 0/18000  time left unknown  valid_nll 7.000" in err.getvalue()
    assert "? left" in err.getvalue()
    assert "00:00" not in err.getvalue()


def test_three_samples_of_a_report_are_a_line_each(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(run, "one\ttab\ntwo " + "2" * 90 + "\n\x1b[2Jthree\nfour\n")
    display(run, ROW)
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "step 3/18000  1.5 steps/s  7 tokens/s  3:19:58 left  nll 1.500",
        r"  one\ttab",
        "  two " + "2" * 73 + "…",
        r"  \x1b[2Jthree",
    ]
    assert len(err[2]) == 80
    display(run, ROW, quiet=True)
    assert capsys.readouterr().err == ""


def test_samples_of_several_lines_are_a_line_each(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.config["data"] = {"separator": "blank"}
    write_samples(run, "one\n  two\n\nthree\n\n")
    display(run, ROW)
    assert capsys.readouterr().err.splitlines()[1:] == [r"  one\n  two", "  three"]


def test_a_run_on_images_and_a_file_that_is_no_text_show_none(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config["data"] = "digits"
    display(run, ROW)
    assert capsys.readouterr().err.count("\n") == 1
    (run.path / "samples").mkdir()
    (run.path / "samples/step-0000003.txt").write_bytes(b"\xff\xfe")
    display(run, ROW)
    assert capsys.readouterr().err.count("\n") == 1
