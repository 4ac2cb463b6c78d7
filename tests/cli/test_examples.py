"""Every command that a help text shows is taken from it and run, or parsed where running takes long."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from command_lines import ALL, called, parse
from PIL import Image
from typer.testing import CliRunner

from seqgen.cli import evaluate
from seqgen.cli.main import app
from seqgen.image.runs import setup as images
from seqgen.training import time_budget
from seqgen.training.job import Job
from seqgen.training.loop import Progress
from seqgen.training.time_budget import Timing

LONG = {
    ("report",),
    ("image", "evaluate"),
    ("image", "left-out"),
    ("image", "few-labels"),
    ("image", "augment"),
    ("corpora", "fetch"),
    ("bench", "speed"),
    ("bench", "oracle"),
    ("bench", "text"),
    ("bench", "images"),
    ("bench", "jobs"),
    ("bench", "scale"),
}
"""Commands that are parsed only: they take minutes, or a network."""


def shown(path: tuple[str, ...]) -> list[str]:
    """Return the commands at the end of a help text."""
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="seqgen", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    _, _, after = result.output.partition("\n  Examples:\n")
    return [line.strip() for line in after.splitlines()]


SHOWN = sorted({line for path in ALL for line in shown(path)})


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_ends_with_two_or_three_of_its_commands(path: tuple[str, ...]) -> None:
    found = shown(path)
    assert 2 <= len(found) <= 3
    assert len(set(found)) == len(found)
    for line in found:
        assert called(line)[0][: len(path)] == path
        assert len(line) <= 76, line  # behind four columns, on a terminal of 80


def test_what_a_help_ended_with_before_stays() -> None:
    result = CliRunner().invoke(app, ["adversarial", "--help"])
    before, _, _ = result.output.partition("\n  Examples:\n")
    assert "policy gradient: seqgan, maligan" in before


@pytest.mark.parametrize("line", SHOWN)
def test_it_is_parsed(line: str) -> None:
    assert parse(line) in ALL


@pytest.mark.parametrize(
    "line", ["seqgen sample --nn 3", "seqgen runs a b", "seqgen corpora", "seqgen encode a.txt"]
)
def test_what_is_wrong_is_not_parsed(line: str) -> None:
    with pytest.raises((typer.BadParameter.__base__, AssertionError)):  # type: ignore[arg-type]
        parse(line)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_runs: dict[str, Path]) -> Path:
    """A folder with the files and runs that the commands name, all small."""
    folder = tmp_path_factory.mktemp("examples")
    runs = folder / "runs"
    for name, origin in (
        ("sentence-vae-scenes", "sentence-vae"),
        ("residual-scenes", "mle"),
        ("mle-scenes", "mle"),
    ):
        shutil.copytree(small_runs[origin], runs / name)
    for name in ("train.txt", "test.txt"):
        shutil.copy(small_runs["mle"].parent / name, runs / name)
        shutil.copy(small_runs["mle"].parent / name, folder / name)
    shutil.copy(folder / "train.txt", folder / "captions.txt")
    shutil.copy(folder / "test.txt", folder / "samples.txt")
    for i in range(24):
        place = folder / "pictures" / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), color=10 * i).save(place)
    images.train(run=runs / "images", steps=3, values={"batch_size": 32, "net.hidden": 11, "latent_dim": 2})
    return folder


def is_run(line: str) -> bool:
    return called(line)[0] not in LONG


@pytest.mark.parametrize("line", list(filter(is_run, SHOWN)))
def test_it_runs_as_pasted(
    cli: Callable[..., tuple[int, str, str]],
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
) -> None:
    if called(line)[0] == ("pretrain",):  # in a folder without runs, as those of the project are smaller
        project = Path(shutil.copytree(project, tmp_path / "new", ignore=lambda *_: ["runs"]))
    monkeypatch.chdir(project)
    monkeypatch.setattr(evaluate, "RUN_SAMPLES", 53)
    # Trainings are set up, from the corpus to the model, and not stepped through.
    monkeypatch.setattr(Job, "train", lambda job, *args, **options: Progress(finished="done"))
    monkeypatch.setattr(time_budget, "measure", lambda *args, **options: Timing(step=0.5, report=1.0))
    before = set(project.rglob("*"))
    code, out, err = cli(*shlex.split(line)[1:])
    assert code == 0, err
    made = set(project.rglob("*")) - before
    words = shlex.split(line)
    if "--out" in words:
        assert project / words[words.index("--out") + 1] in made
    assert out or made or "done" in err
    for path in made:
        if path.is_file():
            path.unlink()


COMPLETIONS = {"pre": {"pretrain"}, "co": {"corpora"}, "r": {"replay", "report", "runs", "reconstruct"}}


@pytest.mark.parametrize("begun", COMPLETIONS)
def test_the_shell_completes_commands(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    monkeypatch.setenv("_SEQGEN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"seqgen {begun}")
    monkeypatch.setenv("COMP_CWORD", "1")
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert set(out.split()) == COMPLETIONS[begun]


def test_completion_is_installed_by_an_option(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shellingham

    monkeypatch.setattr(shellingham, "detect_shell", lambda *args: ("bash", "/bin/bash"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    code, out, _ = cli("--show-completion")
    assert code == 0
    assert "_SEQGEN_COMPLETE=complete_bash" in out
    code, out, err = cli("--install-completion")
    assert (code, err) == (0, "")
    assert "bash completion installed" in out
    (script,) = (tmp_path / "home/.bash_completions").iterdir()
    assert script.name == "seqgen.sh"
    assert str(script) in (tmp_path / "home/.bashrc").read_text()
