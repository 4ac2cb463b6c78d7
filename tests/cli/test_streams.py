"""Standard output and error: what reaches a terminal, and what happens where they are closed or full."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import coin_corpus

from seqgen.cli import main, streams
from seqgen.training import run_folder

EVIL = "\x1b[2J\x1b]0;title\x07\r"


class Fake(io.StringIO):
    """A stream in memory that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_never_reach_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out, err = Fake(terminal), Fake(terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with streams.guarded():
        sys.stdout.write(f"a sample {EVIL}\n")
        sys.stderr.write(f"a run {EVIL}\n")
        streams.for_bars().write("\ra bar")
    escaped = r"\x1b[2J\x1b]0;title\x07\r"
    assert out.getvalue() == (f"a sample {escaped}\n" if terminal else f"a sample {EVIL}\n")
    assert err.getvalue() == f"a run {escaped}\n\ra bar"
    assert (sys.stdout, sys.stderr) == (out, err)


def test_neither_a_name_nor_an_error_brings_them_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["sample", "--run", f"no{EVIL}run"], ["pretrain", f"no{EVIL}algorithm"]):
        monkeypatch.setattr(sys, "argv", ["seqgen", *arguments])
        with pytest.raises(SystemExit):
            main.main()
        err = capsys.readouterr().err
        assert r"\x1b]0;title\x07" in err
        assert not set(err) & {"\x1b", "\x07", "\r"}


def train(folder: Path, name: str, **options: object) -> int:
    """Train a few steps with standard error as the options of a process say; return the exit status."""
    corpus = coin_corpus(folder / "coins.txt")
    command = [
        sys.executable,
        "-m",
        "seqgen.cli.main",
        "pretrain",
        "--corpus",
        corpus,
        "--run",
        folder / name,
    ]
    command += ["--steps", "7", "--set", "report_every=2", "--set", "generator.hidden=5", "--threads", "1"]
    return subprocess.run([*map(str, command)], check=False, **options).returncode  # type: ignore[call-overload]


def test_trouble_on_standard_error_stops_no_training(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert train(tmp_path, "gone", stderr=writer) == 0
    os.close(writer)
    assert train(tmp_path, "closed", preexec_fn=lambda: os.close(2)) == 0
    assert {path.name for path in (tmp_path / "closed").iterdir()} >= {"state.pt", "tensorboard"}
    for name in ("gone", "closed"):
        rows = run_folder.open_run(tmp_path / name).metrics()
        assert [row["step"] for row in rows] == [0, 2, 4, 6, 7]


def lists_corpora(**options: object) -> tuple[int, str]:
    """List the corpora, which needs no torch; return the exit status and what standard error says."""
    command = [sys.executable, "-m", "seqgen.cli.main", "corpora", "list"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)  # type: ignore[call-overload]
    return done.returncode, done.stderr


def test_a_result_that_cannot_be_written_is_one_line() -> None:
    code, err = lists_corpora(preexec_fn=lambda: os.close(1))
    assert code == 2
    assert err == (
        "seqgen: standard output is closed; leave it open, or name a file with --out if the command has it\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which is always full")
def test_a_result_on_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        code, err = lists_corpora(stdout=full)
    assert (code, err) == (
        2,
        "seqgen: no space left on the disk; make room and run the same command again\n",
    )


def test_closed_input_is_empty(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "seqgen.cli.main", "corpora", "stats", "-"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, preexec_fn=lambda: os.close(0)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("seqgen: standard input holds no sentence") or "- holds no" in done.stderr
    assert done.stderr.count("\n") == 1
