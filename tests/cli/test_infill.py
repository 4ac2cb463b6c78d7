"""Runs of leakgan and maskgan from the command line: sampled, evaluated, resumed, blanks filled."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest
from helpers import write_lines

from seqgen.cli import main

COMMON = ["--threads", "1", "--quiet", "--device", "cpu"]
SMALL = ["--set", "discriminator_pretraining_steps=2", "--set", "report_every=2"]


class Ended(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


def call(*arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["seqgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A likelihood run, and one of each on it."""
    folder = tmp_path_factory.mktemp("infill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        people, things = ("a cat", "two dogs", "the old man", "some birds"), ("sat", "sleep", "looked")
        places = ("on the mat.", "by a tree.", "in the rain.", "near us.", "at home, as ever.")
        lines = [f"{a} {b} {c}" for a in people for b in things for c in places]
        corpus = write_lines(folder / "train.txt", lines)
        sizes = ["--set", "generator.embedding=11", "--set", "generator.hidden=13", "--steps", "30"]
        first = call("pretrain", "--corpus", corpus, "--run", folder / "mle", *sizes, *COMMON)
        assert first.exit_code == 0, first.stderr
        for name in ("leakgan", "maskgan"):
            found = call("adversarial", name, "--init", folder / "mle", "--run", folder / name, "--steps", 4,
                         *SMALL, *COMMON)  # fmt: skip
            assert found.exit_code == 0, found.stderr
        yield folder


def sampled(*arguments):
    found = call("sample", *arguments, "--quiet")
    assert found.exit_code == 0, found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize("name", ["leakgan", "maskgan"])
def test_a_run_is_as_any_other(runs, name):
    rows = [json.loads(row) for row in sampled("--run", runs / name, "--n", 5, "--format", "jsonl")]
    assert all(row["log_prob"] < 0 for row in rows)
    lines = sampled(
        "--run", runs / name, "--n", 5, "--prompt", "two dogs", "--temperature", 0.5, "--top-k", 3
    )
    assert all(line.startswith("two dogs") for line in lines)
    assert len(sampled("--run", runs / name, "--n", 3, "--search", "contrastive")) == 3
    found = call("evaluate", "--run", runs / name, "--n", 20, *COMMON[:3])
    assert found.exit_code == 0, found.stderr
    again = call(
        "adversarial", name, "--init", runs / "mle", "--run", runs / name, "--steps", 6, *SMALL, *COMMON
    )
    assert again.exit_code == 0, again.stderr
    other = call("adversarial", "seqgan", "--init", runs / name, "--run", runs / f"{name}-2", "--steps", 1,
                 "--set", "discriminator_pretraining_steps=0", *COMMON)  # fmt: skip
    assert other.exit_code == 0, other.stderr


def test_blanks_are_filled(runs):
    lines = sampled("--run", runs / "maskgan", "--n", 7, "--infill", "a _ sat on _ mat.")
    assert len(lines) == 7
    assert len(set(lines)) > 1
    for line in lines:
        assert line.startswith("a")
        assert " sat on" in line
        assert line.endswith(" mat.")
        assert "_" not in line
    how = ("--run", runs / "maskgan", "--n", 7, "--infill", "a _ sat on _ mat.")
    assert sampled(*how) == lines
    assert sampled(*how, "--seed", 1) != lines
    assert len(set(sampled(*how, "--temperature", 0))) == 1
    rows = [json.loads(row) for row in sampled(*how, "--format", "jsonl", "--unique")]
    assert len({row["text"] for row in rows}) == 7
    assert all(row["log_prob"] < 0 for row in rows)


@pytest.mark.parametrize(
    ("run", "arguments", "message"),
    [
        ("mle", ["--infill", "a _ sat"], "is a run of mle, which fills no blanks; train one with 'seqgen"),
        ("maskgan", ["--infill", "a cat sat"], "'a cat sat' has no blank to fill; write _ for each token"),
        ("maskgan", ["--infill", "a zebra _"], "the model has never seen 'zebra'; write _ instead"),
        ("maskgan", ["--infill", "a _", "--prompt", "a"], "leave --prompt out"),
        (
            "maskgan",
            ["--infill", "a _", "--min-length", 2, "--max-length", 5],
            "fills the blanks of a given text; leave --min-length and --max-length out",
        ),
        ("maskgan", ["--infill", "a _", "--search", "contrastive"], "leave --search out"),
        ("maskgan", ["--infill", "_ " * 40], "the text has 41 tokens with its end, and a sentence at most"),
    ],
)
def test_what_cannot_be_filled(runs, run, arguments, message):
    found = call("sample", "--run", runs / run, *arguments)
    assert found.exit_code == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
