"""`seqgen score`: its columns, its table of corruptions, and user errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from seqgen.cli.score import score
from seqgen.core.errors import UserError
from seqgen.inference import scoring
from seqgen.training import load

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(score)
LINES = ["two dogs sat by a tree.", "", "a cat sat."]


@pytest.fixture
def call(small_runs: dict[str, Path]) -> Callable[..., Result]:
    def invoke(*arguments: object, runs: tuple[str, ...] = ("mle",), stdin: str = "") -> Result:
        named = [part for name in runs for part in ("--run", str(small_runs.get(name, name)))]
        result = CliRunner().invoke(app, [*map(str, arguments), *named], input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return invoke


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def test_a_line_for_each_line(call: Callable[..., Result], lines: Path, small_runs: dict[str, Path]) -> None:
    expected = list(scoring.score(load.load(small_runs["mle"], "cpu"), LINES))
    printed = call(lines).stdout
    log_probs = ["" if each.log_prob is None else f"{each.log_prob:.4f}" for each in expected]
    assert log_probs.count("") == LINES.count("")
    rows = zip(log_probs, expected, strict=True)
    assert printed == "".join(f"{log_prob}\t\t{each.tokens}\t{each.text}\n" for log_prob, each in rows)
    assert call("-", stdin="\n".join(LINES)).stdout == printed
    found = [json.loads(line) for line in call(lines, "--format", "jsonl").stdout.splitlines()]
    assert found == [vars(each) for each in expected]
    out = lines.with_name("scores.tsv")
    assert call(lines, "--out", out).stdout == ""
    assert out.read_text() == printed
    assert len(call().stdout.splitlines()) == 12  # the test split


def test_only_the_scores_that_a_run_has_are_printed(call: Callable[..., Result], lines: Path) -> None:
    result = call(lines, "--samples", 3, runs=("sentence-vae",))
    assert "log-probabilities are estimated with 3 latents per sentence" in result.stderr
    rows = [row.split("\t") for row in result.stdout.splitlines()]
    assert all(bool(log_prob) == bool(text) and energy for log_prob, energy, _, text in rows)
    assert all(row.startswith("\t") for row in call(lines, runs=("autoencoder",)).stdout.splitlines())


def test_runs_stand_side_by_side_in_the_table(
    call: Callable[..., Result], small_runs: dict[str, Path]
) -> None:
    train = small_runs["mle"].with_name("train.txt")
    other = small_runs["mle"].with_name("test.txt")
    arguments = (train, "--auroc", "--other", other, "--samples", 3, "--n", 53)
    runs = ("mle", "sentence-vae", "autoencoder")
    table = call(*arguments, runs=runs).stdout.splitlines()
    assert table[0] == "AUROC ± half of the 95 % interval, 53 lines against corrupted copies"
    assert table[1].split() == ["shuffled", "swapped", "replaced", "other"]
    names = ["nats per sentence", "nats per token"]
    energies = ["energy", "energy per token"]
    expected = [("mle", names), ("sentence-vae", names + energies), ("autoencoder", energies)]
    labels = [f"{small_runs[run]}, {name}" for run, scores in expected for name in scores]
    assert [line.split("  ")[0] for line in table[2:]] == labels
    found = [
        json.loads(line) for line in call(*arguments, "--format", "jsonl", runs=runs).stdout.splitlines()
    ]
    assert [(row["run"], row["score"]) for row in found] == [tuple(label.split(", ")) for label in labels]
    memorised = found[-1]["shuffled"]  # by its energy per token
    assert memorised["auroc"] > 0.95
    assert table[-1].split("  ")[-4].strip() == (
        f"{memorised['auroc']:.3f} ± {(memorised['interval'][1] - memorised['interval'][0]) / 2:.3f}"
    )
    assert (found[0]["lines"], found[0]["other"]["copies"]) == (53, 12)
    assert call(*arguments, runs=runs).stdout.splitlines() == table
    assert call(*arguments, "--seed", 1, runs=runs).stdout.splitlines() != table


@pytest.mark.parametrize(
    ("arguments", "runs", "message"),
    [
        (["absent.txt"], ("mle",), "FILE 'absent.txt' does not exist"),
        (["--format", "text"], ("mle",), "no format 'text'; allowed: tsv, jsonl"),
        ([], ("mle", "autoencoder"), "--run is given several times, which needs --auroc"),
        (["--out", "."], ("mle",), "--out '.' is a folder; name a file"),
        (["--other", "b.txt"], ("mle",), "--other needs --auroc"),
        (["--n", "5"], ("mle",), "--n needs --auroc"),
        (["--auroc", "--other", "absent.txt"], ("mle",), "--other 'absent.txt' does not exist"),
        ([], ("absent",), "no run at 'absent'"),
    ],
)
def test_mistakes_are_one_line(
    call: Callable[..., Result], arguments: list[str], runs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call(*arguments, runs=runs)
    assert "\n" not in str(caught.value)
