"""Every command reads every kind of file, and writes to every standard output, through the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

LINES = [
    "a cat sat on the mat.",
    "two dogs sleep by a tree.",
    "the old man, as ever, waited.",
    "a cat sat near us.",
]
REFS = ["a cat sat by a tree.", "two dogs sat on the mat.", "some birds waited near us."]
Call = Callable[..., tuple[int, str, str]]


def write_text(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def write_csv(path: Path, lines: list[str]) -> None:
    path.write_text("n;text\n" + "".join(f"{i};{line}\n" for i, line in enumerate(lines)))


def write_jsonl(path: Path, lines: list[str]) -> None:
    rows = [
        {"text": line, "tokens": 7, "log_prob": -1.5} for line in lines
    ]  # as `sample --format jsonl` does
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, lines: list[str]) -> None:
    path.write_text(json.dumps([{"text": line} for line in lines], indent=2))


def write_parquet(path: Path, lines: list[str]) -> None:
    pyarrow.parquet.write_table(pa.table({"n": list(range(len(lines))), "text": lines}), path)


WRITERS = {"a.txt": write_text, "a.csv": write_csv, "a.jsonl": write_jsonl, "a.json": write_json}
WRITERS |= {"a.parquet": write_parquet, "a.tsv": write_csv}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_has_the_same_scores(cli: Call, tmp_path: Path, name: str) -> None:
    write_text(tmp_path / "plain.txt", LINES)
    write_text(tmp_path / "ref.txt", REFS)
    expected = json.loads(cli("evaluate", "--hyp", "plain.txt", "--ref", "ref.txt", "--json", "--quiet")[1])
    WRITERS[name](tmp_path / name, LINES)
    (tmp_path / "refs").mkdir()
    WRITERS[name](tmp_path / "refs" / name, REFS)
    code, out, err = cli("evaluate", "--hyp", name, "--ref", f"refs/{name}", "--json")
    assert code == 0, err
    assert json.loads(out)["bleu"] == expected["bleu"]
    assert name == "a.txt" or f"--hyp '{name}': column 'text'" in err


def test_samples_as_json_lines_are_read_from_a_pipe(cli: Call, tmp_path: Path) -> None:
    write_text(tmp_path / "ref.txt", REFS)
    write_jsonl(tmp_path / "a.jsonl", LINES)
    piped = (tmp_path / "a.jsonl").read_bytes()
    from_file = cli("evaluate", "--hyp", "a.jsonl", "--ref", "ref.txt", "--json", "--quiet")[1]
    from_pipe = cli("evaluate", "--hyp", "-", "--ref", "ref.txt", "--json", "--quiet", stdin=piped)[1]
    assert json.loads(from_pipe)["bleu"] == json.loads(from_file)["bleu"]


def test_each_file_of_an_evaluation_has_its_column_and_encoding(cli: Call, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("en,de\na cat sat,ein Hund\na café,eine Katze\n", encoding="windows-1252")
    (tmp_path / "r.csv").write_text("x|y\na dog ran|a cat sat\nno|a café ran\n", encoding="utf-16")
    hyp = ["--hyp", "h.csv", "--column", "en", "--encoding", "windows-1252"]
    code, _, err = cli("evaluate", *hyp, "--ref", "r.csv")
    assert (code, err.splitlines()[-1]) == (
        2,
        "seqgen: --ref 'r.csv' has 2 columns of text; name one with --column; its columns: 'x', 'y'",
    )
    code, out, _ = cli("evaluate", *hyp, "--ref", "r.csv", "--ref-column", "y", "--json")
    assert code == 0
    (tmp_path / "h.txt").write_text("a cat sat\na café\n")
    (tmp_path / "r.txt").write_text("a cat sat\na café ran\n")
    plain = cli("evaluate", "--hyp", "h.txt", "--ref", "r.txt", "--json")[1]
    assert json.loads(plain)["bleu"] == json.loads(out)["bleu"]


@pytest.mark.parametrize("name", WRITERS)
def test_scores_and_latents_of_every_kind_of_file(
    cli: Call, tmp_path: Path, small_runs: dict[str, Path], name: str
) -> None:
    write_text(tmp_path / "plain.txt", LINES)
    WRITERS[name](tmp_path / name, LINES)
    run = ["--run", small_runs["sentence-vae"], "--quiet"]
    assert cli("score", name, *run)[1] == cli("score", "plain.txt", *run)[1]
    for each in ("plain.txt", name):
        assert cli("encode", each, "--out", f"{each}.npy", *run)[0] == 0
    np.testing.assert_array_equal(np.load(f"{name}.npy"), np.load("plain.txt.npy"))
    rows = cli("reconstruct", "--file", name, *run)[1]
    assert rows == cli("reconstruct", "--file", "plain.txt", *run)[1]


def test_statistics_say_what_was_taken(cli: Call, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n;text\n1;a café\n2;\n3;b;c\n4;d\n", encoding="windows-1252")
    code, out, _ = cli("corpora", "stats", "a.csv", "--encoding", "windows-1252")
    assert code == 0
    assert "taken            encoding windows-1252; column 'text' of 2, delimiter ';'" in out
    assert "left out         1 with another number of fields, 1 blank\n" in out


def test_a_score_of_several_lines_is_one_row(cli: Call, tmp_path: Path, small_runs: dict[str, Path]) -> None:
    (tmp_path / "a.txt").write_text("a cat\n\tsat.\n\ntwo dogs\n")
    code, out, _ = cli("score", "a.txt", "--separator", "blank", "--run", small_runs["mle"])
    assert (code, [row.split("\t")[3] for row in out.splitlines()]) == (0, ["a cat sat.", "two dogs"])


def process(*arguments: str | bytes, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "seqgen", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, check=False)


def test_an_ascii_terminal_gets_escapes_and_a_note(tmp_path: Path, small_runs: dict[str, Path]) -> None:
    (tmp_path / "a.txt").write_text("a café 😀\n")
    arguments = ("score", "a.txt", "--run", str(small_runs["mle"]), "--quiet", "--format", "jsonl")
    found = process(*arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["text"] == "a café 😀"
    assert found.stdout.isascii()
    assert found.stderr.decode() == (
        "standard output is ascii: characters that it lacks are written as \\uXXXX; "
        "set PYTHONIOENCODING=utf-8\n"
    )


def test_prompts_and_paths_that_are_no_utf8(tmp_path: Path, small_runs: dict[str, Path]) -> None:
    run = ("--run", str(small_runs["mle"]), "--quiet")
    found = process("sample", "--n", "1", "--prompt", b"caf\xe9", *run, cwd=tmp_path)
    assert (found.returncode, found.stderr.decode()) == (
        2,
        "seqgen: the text 'caf?' holds bytes that are not UTF-8; give it in UTF-8\n",
    )
    name = os.fsdecode(b"caf\xe9.txt")
    write_text(tmp_path / name, LINES)
    found = process("score", name, *run, cwd=tmp_path)
    assert (found.returncode, found.stdout.count(b"\n")) == (0, 4)
    found = process("score", os.fsdecode(b"no\xe9.txt"), *run, cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
