"""`seqgen reconstruct`, `interpolate`, `neighbours`, `encode`, `map`: their output and user errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from seqgen.cli.encode import encode
from seqgen.cli.interpolate import interpolate
from seqgen.cli.map import draw_map
from seqgen.cli.neighbours import neighbours
from seqgen.cli.reconstruct import reconstruct
from seqgen.core.errors import UserError
from seqgen.inference import latent_space
from seqgen.training import load

SENTENCE, OTHER = "a cat sat on the mat.", "some birds waited in the rain."
app = typer.Typer(pretty_exceptions_enable=False)
for command in (reconstruct, interpolate, neighbours, encode):
    app.command(command.__name__)(command)
app.command("map")(draw_map)


@pytest.fixture
def call(small_runs: dict[str, Path]) -> Callable[..., Result]:
    """Run a command on the autoencoder that has memorised its corpus."""

    def invoke(command: str, *arguments: object, stdin: str = "") -> Result:
        listed = [command, *map(str, arguments)]
        if "--run" not in listed:
            listed += ["--run", str(small_runs["autoencoder"])]
        result = CliRunner().invoke(app, listed, input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return invoke


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_reconstructions_of_arguments_a_file_a_pipe_and_the_test_split(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    assert call("reconstruct", SENTENCE).stdout == f"{SENTENCE}\n  → {SENTENCE}\n"
    (row,) = rows(call("reconstruct", f" {SENTENCE}  ", "--format", "jsonl"))
    assert row["text"] == row["reconstruction"] == SENTENCE
    assert row["tokens"] == 8
    assert 0 < row["nll"] < 3
    (tmp_path / "lines.txt").write_text(f"{SENTENCE}\n\n{OTHER}\n")
    read = rows(call("reconstruct", "--file", tmp_path / "lines.txt", "--format", "jsonl"))
    piped = rows(call("reconstruct", "--file", "-", "--format", "jsonl", stdin=f"{SENTENCE}\n\n{OTHER}\n"))
    assert [row["text"] for row in read] == [SENTENCE, "", OTHER]
    assert read == piped
    assert len(rows(call("reconstruct", "--format", "jsonl"))) == 10
    assert "has what the model has never seen: 'zebra'\n" in call("reconstruct", "a zebra").stderr


def test_the_run_is_printed_unless_quiet(call: Callable[..., Result], small_runs: dict[str, Path]) -> None:
    printed = call("reconstruct", SENTENCE).stderr
    assert printed.startswith(f"run: {small_runs['autoencoder']} (autoencoder on ")
    assert call("reconstruct", SENTENCE, "--quiet").stderr == ""


def test_interpolations(call: Callable[..., Result], small_runs: dict[str, Path]) -> None:
    lines = call("interpolate", SENTENCE, OTHER, "--steps", 5).stdout.splitlines()
    assert len(lines) == 5
    assert [lines[0], lines[-1]] == [SENTENCE, OTHER]
    found = load.load(small_runs["autoencoder"], "cpu")
    assert lines == latent_space.interpolate(found, SENTENCE, OTHER, 5)
    turned = rows(call("interpolate", SENTENCE, OTHER, "--steps", 5, "--spherical", "--format", "jsonl"))
    assert [row["weight"] for row in turned] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [row["text"] for row in turned] == latent_space.interpolate(
        found, SENTENCE, OTHER, 5, spherical=True
    )
    drawn = call("interpolate", "--seed", 3)
    assert len(drawn.stdout.splitlines()) == 7
    assert drawn.stdout == call("interpolate", "--seed", 3).stdout


def test_neighbours_of_training_sentences_and_of_a_file(call: Callable[..., Result], tmp_path: Path) -> None:
    result = call("neighbours", SENTENCE, OTHER, "--n", 3)
    lines = result.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [SENTENCE, OTHER]
    assert lines[1].split("  ") == ["", "0.0000", SENTENCE]
    assert len(lines) == 2 * (1 + 3)
    assert "among: 76 sentences of" in result.stderr
    (tmp_path / "pool.txt").write_text(f"{OTHER}\n\n{OTHER}\nbirds sat.\n")
    for metric in ("euclidean", "cosine"):
        options = ("--among", tmp_path / "pool.txt", "--metric", metric, "--format", "jsonl")
        (row,) = rows(call("neighbours", SENTENCE, *options))
        assert row["text"] == SENTENCE
        assert sorted(near["text"] for near in row["neighbours"]) == ["birds sat.", OTHER]
        assert row["neighbours"][0]["distance"] <= row["neighbours"][1]["distance"]


def test_latents_are_written_in_the_order_of_the_lines(
    call: Callable[..., Result], small_runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text(f"{OTHER}\n\n{SENTENCE}\n")
    out = tmp_path / "latents.npy"
    assert call("encode", tmp_path / "lines.txt", "--out", out).stdout == ""
    found = np.load(out)
    assert (found.shape, found.dtype) == ((3, 7), np.float32)
    run = load.load(small_runs["autoencoder"], "cpu")
    assert np.array_equal(found, latent_space.encode(run, [OTHER, "", SENTENCE]).numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latents.npy", "lines.txt"]


def test_maps(call: Callable[..., Result], small_runs: dict[str, Path], tmp_path: Path) -> None:
    result = call("map", "--method", "pca")
    picture = small_runs["autoencoder"] / "map.png"
    assert result.stdout == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines, labels = tmp_path / "lines.txt", tmp_path / "kind"
    lines.write_text("".join(f"{SENTENCE} {i}\n" for i in range(7)))
    labels.write_text("".join(f"{i % 2}\n" for i in range(7)))
    table = tmp_path / "table.csv"
    table.write_text("text,kind\n" + "".join(f"{SENTENCE} {i},{i % 2}\n" for i in range(7)))
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "kind").write_text("".join(f"{i}\n" for i in range(7)))
    pictures = [tmp_path / f"{i}.png" for i in range(5)]
    call("map", lines, "--out", pictures[0])
    call("map", lines, "--labels", labels, "--out", pictures[1])
    call("map", table, "--label-column", "kind", "--column", "text", "--out", pictures[2])
    result = call("map", lines, "--labels", labels, "--n", 5, "--out", pictures[3])
    assert "map: 5 of 7 sentences" in result.stderr
    call("map", lines, "--labels", tmp_path / "all" / "kind", "--out", pictures[4])
    first, by_file, by_column, fewer, all_different = (path.read_bytes() for path in pictures)
    assert by_file == by_column
    assert len({first, by_file, fewer, all_different}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reconstruct", "a", "--file", "b.txt"], "as arguments and with --file; give one of them"),
        (["reconstruct", "a", " "], "one of the sentences is blank"),
        (["reconstruct", "--file", "absent.txt"], "--file 'absent.txt' does not exist"),
        (["reconstruct", "a", "--format", "json"], "no format 'json'; did you mean 'jsonl'"),
        (["interpolate", "a"], "'a' is only one sentence; give two sentences"),
        (["neighbours", "a", "--metric", "cosin"], "no metric 'cosin'; did you mean 'cosine'"),
        (["neighbours", "a", "--among", "absent.txt"], "--among 'absent.txt' does not exist"),
        (["encode", "absent.txt", "--out", "latents.npy"], "FILE 'absent.txt' does not exist"),
        (["encode", "absent.txt", "--out", "latents.npz"], "--out 'latents.npz' does not end in .npy"),
        (["map", "--method", "tsn"], "no method 'tsn'; did you mean 'tsne'"),
        (["map", "--labels", "labels.txt"], "--labels needs the file of the sentences"),
        (
            ["map", "a.csv", "--labels", "b", "--label-column", "c"],
            "--labels and --label-column are both given",
        ),
        (["map", "a.csv", "--column", "text"], "--column goes with --label-column"),
        (["map", "a.csv"], "'a.csv' is a table; name the column of its labels with --label-column"),
        (["map", "--out", "map.pdf"], "--out 'map.pdf' does not end in .png"),
        (["reconstruct", "a", "--run", "absent"], "no run at 'absent'"),
    ],
)
def test_mistakes_are_one_line(call: Callable[..., Result], arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def test_labels_must_be_as_many_as_lines(call: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\nb\nc\n")
    (tmp_path / "labels.txt").write_text("0\n1\n")
    with pytest.raises(UserError, match=r"has 2 lines and '.*lines.txt' 3; give a label for each line"):
        call("map", tmp_path / "lines.txt", "--labels", tmp_path / "labels.txt")


@pytest.mark.parametrize(
    "arguments",
    [["reconstruct", "a"], ["interpolate"], ["neighbours"], ["encode", "-", "--out", "c.npy"], ["map"]],
)
def test_a_run_without_latents_is_named_with_what_to_do(
    call: Callable[..., Result], small_runs: dict[str, Path], arguments: list[str]
) -> None:
    with pytest.raises(
        UserError, match="is a run of mle, which has no latents; name one of sentence-vae"
    ) as caught:
        call(*arguments, "--run", small_runs["mle"])
    assert "seqgen pretrain sentence-vae" in str(caught.value)
