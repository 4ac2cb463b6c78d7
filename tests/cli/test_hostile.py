"""Commands given files and numbers of another hand: one line, exit code 2, at once, nothing executed."""

import json
import os
import time

import pytest

from seqgen.training import run_folder

SMALL = ("--set", "generator.embedding=5", "--set", "generator.hidden=7", "--threads", "1", "--quiet")


@pytest.fixture
def cli(cli, tmp_path):
    """Run the command beside a corpus; returns exit code, stdout and stderr."""
    (tmp_path / "corpus.txt").write_text(
        "".join(f"a cat sat on mat {n}\n" for n in range(31)), encoding="utf-8"
    )
    return cli


def is_one_line(result, message):
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("seqgen: ")
    assert message in err
    return True


TRAIN = ("pretrain", "--corpus", "corpus.txt", "--run", "r", *SMALL)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "lr=1e300"), "setting lr takes a number; got '1e300'"),
        (("--set", "clip=1e31"), "setting clip takes a number; got '1e31'"),
        (("--set", "lr=1e29"), "training diverged"),
        (("--max-length", "100000"), "a maximum length of 100000 is too large; give 65,536 or less"),
        (("--config", "deep.toml"), "'deep.toml' is not TOML: it is nested more than 64 deep"),
        (("--config", "/dev/zero"), "'/dev/zero' has more than 1,048,576 bytes"),
        (("--set", f"{'x' * 5000}=1"), "no setting 'xxxxx"),
    ],
)
def test_options_of_any_size(cli, tmp_path, args, message):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000 + "]" * 100_000, encoding="utf-8")
    result = cli(*TRAIN, "--steps", 3, *args)
    assert is_one_line(result, message)
    assert len(result[2]) < 1100


def test_memory_that_there_is_not_is_one_line(cli, monkeypatch):
    def empty(*args, **options):
        raise MemoryError

    monkeypatch.setattr("seqgen.training.setup.open_with_tokenizer", empty)
    assert is_one_line(cli(*TRAIN), "seqgen: out of memory. Use a smaller batch")


def test_a_run_of_another_hand(cli, tmp_path):
    assert cli(*TRAIN, "--steps", 3)[0] == 0
    assert is_one_line(
        cli("sample", "--run", "r", "--temperature", "1e-38", "--quiet"), "temperature is 1e-38"
    )
    log = tmp_path / "r" / run_folder.METRICS
    log.write_text(log.read_text() + json.dumps({"step": 10**12}) + "\n", encoding="utf-8")
    started = time.process_time()
    assert cli(*TRAIN, "--steps", 4)[0] == 0
    assert time.process_time() - started < 30
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()][-1] == 4
    for name in (run_folder.CONFIG, run_folder.TOKENIZER, run_folder.WEIGHTS):
        path = tmp_path / "r" / name
        path.rename(tmp_path / name)
        os.mkfifo(path)
        for command in (
            ("sample", "--run", "r"),
            ("adversarial", "seqgan", "--init", "r"),
            ("report", "--run", "r"),
        ):
            assert is_one_line(cli(*command), f"{name}' is a FIFO, not a regular file")
        path.unlink()
        (tmp_path / name).rename(path)
    assert cli("sample", "--run", "r", "--n", 2, "--quiet")[1].count("\n") == 2
