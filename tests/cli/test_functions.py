"""Functions of the user's on the command line: what is refused, what a resumed training must find again."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqgen.cli.main import app
from seqgen.core.errors import UserError

CODE = "def words(sentences):\n    return [len(s.split()) for s in sentences]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch, small_runs):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "other.py").write_text(CODE + "def never(sentences):\n    return [False] * len(sentences)\n")
    monkeypatch.chdir(tmp_path)
    return small_runs["mle"]


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--reward-weight", "2"), "--reward-weight 2 has no reward to weight"),
        (("sample", "--where", "mine.py:word"), "'mine.py' has no function 'word'"),
        (("sample", "--candidates", "3"), "leave --candidates out, or give --reward"),
        (
            ("evaluate", "--metric", "mine.py:words", "--metric", "other.py:words"),
            "two functions are named 'words'",
        ),
    ],
)
def test_refused(folder, arguments, message):
    result = run(*arguments, "--run", folder)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_a_filter_that_nothing_passes_ends_with_a_notice(folder, monkeypatch):
    monkeypatch.setattr("seqgen.inference.generate.SAMPLE_BATCH", 13)
    result = run("sample", "--run", folder, "--where", "other.py:never", "--n", "3")
    assert result.exit_code == 0
    assert "only 0 fitting sentences: 260 more samples had no new one" in result.stderr


def test_a_metric_has_its_mean_and_interval_beside_real_text(folder):
    results = json.loads(
        run("evaluate", "--run", folder, "--metric", "mine.py:words", "--n", "40", "--json").stdout
    )
    low, high = results["intervals"]["functions"]["words"]
    assert low <= results["functions"]["words"] <= high
    assert results["real"]["functions"]["words"] > 4
    table = run("evaluate", "--run", folder, "--metric", "mine.py:words", "--n", "40").stdout
    assert "mean of your functions" in table


def test_training_goes_on_by_the_same_code_alone(folder):
    train = (
        "adversarial",
        "seqgan",
        "--init",
        folder,
        "--run",
        "run",
        "--set",
        "reward=mine.py:words",
        "--quiet",
    )
    small = ("--set", "batch_size=5", "--set", "policy.rollouts=2", "--device", "cpu")
    small += ("--set", "discriminator_pretraining_steps=1")
    first = run(*train, *small, "--steps", "2")
    assert first.exit_code == 0, first.output
    assert run(*train, *small, "--steps", "3").exit_code == 0
    Path("mine.py").write_text(CODE + "# changed\n")
    changed = run(*train, *small, "--steps", "4")
    assert "'run' holds a run with user_code.mine.py:words=" in str(changed.exception)
    Path("mine.py").unlink()  # not asked for where nothing is trained
    assert run("sample", "--run", "run", "--n", "2", "--quiet").exit_code == 0


FRAGILE = """
from pathlib import Path

calls = []


def longer(sentences):
    calls.append(1)
    if len(calls) == 3 and not Path("mended").exists():
        raise ValueError("the third call")
    return [len(s) > {least} for s in sentences]
"""


def test_a_function_that_fails_costs_no_samples_and_one_that_has_changed_is_seen(folder, monkeypatch):
    monkeypatch.setattr("seqgen.inference.generate.SAMPLE_BATCH", 13)
    command = ["sample", "--run", folder, "--where", "fragile.py:longer", "--n", "31", "--out"]
    Path("fragile.py").write_text(FRAGILE.format(least=3))
    failed = run(*command, "a.txt")
    assert "fragile.py:longer failed: ValueError: the third call" in str(failed.exception)
    kept = json.loads(Path("a.txt.part.json").read_text())["position"]["sentences"]
    assert 0 < kept <= 26
    Path("fragile.py").write_text(FRAGILE.format(least=2))
    changed = run(*command, "a.txt")
    assert "'a.txt.part' was begun with source of --where" in str(changed.exception).replace(
        f"{Path.cwd()}/", ""
    )
    Path("fragile.py").write_text(FRAGILE.format(least=3))
    Path("mended").touch()
    gone_on = run(*command, "a.txt", "--threads", "1")
    assert gone_on.exit_code == 0
    assert f"going on from {kept} of 31 sentences" in gone_on.stderr
    assert run(*command, "b.txt").exit_code == 0
    assert Path("a.txt").read_bytes() == Path("b.txt").read_bytes()
    assert len(Path("a.txt").read_text().splitlines()) == 31
