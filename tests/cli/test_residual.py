"""`seqgen adversarial` by default, and what the other commands say of its run."""

import json
import subprocess
import sys

import pytest
from helpers import write_lines


def seqgen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "seqgen", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A likelihood run and a residual run on it."""
    folder = tmp_path_factory.mktemp("residual")
    people, things = ("a cat", "two dogs", "the old man", "some birds"), ("sat", "sleep", "looked", "waited")
    places = ("on the mat.", "by a tree.", "in the rain.", "near us.", "at home, as ever.")
    write_lines(folder / "train.txt", [f"{a} {b} {c}" for a in people for b in things for c in places])
    write_lines(folder / "test.txt", [f"{a} {b} there" for a in people for b in things])
    common = ("--threads", "1", "--quiet", "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        small = ("--set", "generator.embedding=11", "--set", "generator.hidden=13", "--steps", "40")
        first = seqgen(
            "pretrain", "--corpus", "train.txt", "--test", "test.txt", "--run", "runs/m", *small, *common
        )
        assert first.returncode == 0, first.stderr
        energy = (
            "--set",
            "energy.embedding=7",
            "--set",
            "energy.hidden=5",
            "--set",
            "held_out_samples=20000",
        )
        second = seqgen("adversarial", "--run", "runs/r", "--steps", "10", *energy, *common)
        assert second.returncode == 0, second.stderr
        yield folder


def test_it_is_the_default_and_starts_from_the_latest_run(folder):
    config = json.loads((folder / "runs/r/config.json").read_text())
    assert config["algorithm"] == "residual"
    assert config["init"] == "../m"


def test_samples_and_their_candidates(folder):
    found = seqgen("sample", "--run", "runs/r", "--n", "5", "--candidates", "3", "--format", "jsonl")
    assert found.returncode == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == 5
    assert all(row["log_prob"] < 0 for row in rows)
    other = seqgen("sample", "--run", "runs/r", "--n", "5", "--candidates", "30", "--format", "jsonl")
    assert other.stdout != found.stdout
    prompted = seqgen("sample", "--run", "runs/r", "--n", "4", "--prompt", "two dogs", "--unique")
    assert all(line.startswith("two dogs") for line in prompted.stdout.splitlines())


def test_candidates_of_another_run_are_refused(folder):
    found = seqgen("sample", "--run", "runs/m", "--candidates", "3")
    assert found.returncode == 2
    assert "candidates are for a residual model, and 'runs/m' is a run of mle" in found.stderr
    assert "Traceback" not in found.stderr


def test_evaluate_shows_the_gain_and_score_the_likelihood(folder):
    found = seqgen("evaluate", "--run", "runs/r", "--n", "50", "--json")
    assert found.returncode == 0, found.stderr
    results = json.loads(found.stdout)
    residual = results["residual"]
    assert residual["candidates"] == 8
    assert 0 < residual["effective"] <= 1
    table = seqgen("evaluate", "--run", "runs/r", "--n", "50")
    assert "gain of the energy on its generator" in table.stdout
    scored = seqgen("score", "--run", "runs/r", "test.txt")
    assert scored.returncode == 0, scored.stderr
    nats = sum(-float(line.split("\t")[0]) for line in scored.stdout.splitlines())
    assert nats / 16 == pytest.approx(results["likelihood"]["test"]["nats_per_sentence"], rel=1e-4)
    plain = json.loads(seqgen("evaluate", "--run", "runs/m", "--n", "50", "--json").stdout)
    assert plain["residual"] is None
    difference = plain["likelihood"]["test"]["nats_per_sentence"] - nats / 16
    assert difference == pytest.approx(residual["gain"], abs=0.1)  # by other samples of the normaliser
