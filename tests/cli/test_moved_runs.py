"""Commands on a project that has moved, and the run that each takes where none is named."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import coin_corpus

import seqgen
from seqgen.image.runs import setup as images
from seqgen.training.run_folder import Run

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run a command in a project folder; returns exit code, stdout and stderr."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return cli


def train(name: str = "mle", **options: object) -> Run:
    """Train a few steps on a corpus in the current folder."""
    return seqgen.pretrain(coin_corpus(Path("coins.txt")), name, steps=2, values=SMALL, **options)


def test_every_command_finds_the_text_of_a_project_that_has_moved(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run="runs/r")
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert cli("evaluate", "--n", 4)[0] == 0
    assert cli("score")[0] == 0
    assert cli("report", "--n", 4, "--temperatures", 1)[0] == 0


def test_every_command_takes_the_name_that_the_text_has_now(cli: Cli) -> None:
    train(run="runs/r")
    Path("coins.txt").rename("text.txt")
    for command in (["evaluate", "--n", 4], ["score"], ["report", "--n", 4, "--temperatures", 1]):
        code, _, err = cli(*command)
        assert code == 2
        assert err.splitlines()[-1].endswith("say where the corpus is now with --corpus")
        assert cli(*command, "--corpus", "text.txt")[0] == 0
    assert seqgen.evaluate("runs/r", corpus="text.txt", n=4)["protocol"]["n"] == 4
    Path("other.txt").write_text("".join(f"another text {i}\n" for i in range(60)))
    code, _, err = cli("score", "--corpus", "other.txt")
    assert code == 2
    assert "other.txt' is no longer the one that run 'runs/r' was trained on" in err


def test_each_command_takes_the_newest_run_that_fits(cli: Cli) -> None:
    train("sentence-vae", run="runs/vae")
    train(run="runs/text")
    images.train("vae", run=Path("runs/pictures"), steps=1, values={"batch_size": 32})
    images.train("gan", run=Path("runs/gan"), steps=1, values={"batch_size": 32})
    assert cli("sample", "--n", 2)[2].startswith("run: runs/text (mle on ")
    assert cli("reconstruct")[2].startswith("run: runs/vae (sentence-vae on ")
    assert cli("image", "sample", "--n", 2)[2].startswith("run: runs/gan (gan on digits)")
    assert cli("image", "reconstruct", "--n", 2)[2].startswith("run: runs/pictures (vae on digits)")
    Path("runs/text").rename("runs/renamed")
    assert cli("sample", "--n", 2)[2].startswith("run: runs/renamed (mle on ")


def test_an_adversarial_training_starts_from_what_fits_whatever_was_trained_last(cli: Cli) -> None:
    train(run="runs/text")
    options = ("--steps", 2, "--set", "batch_size=4", "--quiet")
    assert cli("adversarial", "--set", "cross_fitting=off", *options)[0] == 0
    images.train("vae", run=Path("runs/pictures"), steps=1, values={"batch_size": 32})
    assert cli("adversarial", "contrastive", *options) == (0, "", "")


def test_a_result_may_go_to_what_is_no_ordinary_file(cli: Cli) -> None:
    train(run="runs/r")
    try:
        os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    Path("page").symlink_to("null")
    for command in (
        ["sample", "--n", 2],
        ["report", "--n", 4, "--temperatures", 1],
        ["image", "sample", "--n", 2],
    ):
        if command[0] == "image":
            images.train("vae", run=Path("runs/pictures"), steps=1, values={"batch_size": 32})
        assert cli(*command, "--out", "page")[0] == 0
    assert Path("page").is_symlink()
    assert stat.S_ISCHR(Path("null").stat().st_mode)
