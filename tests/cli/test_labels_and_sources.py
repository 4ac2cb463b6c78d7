"""Labels and sources on the command line: the commands of the README of the data, and their errors."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import seqgen
from seqgen.cli.main import app
from seqgen.inference import latent_map

README = Path(__file__).resolve().parents[2] / "seqgen/data/README.md"
SHORT = {
    "pretrain": ["--set", "generator.hidden=16", "--steps", "60", "--device", "cpu", "--quiet"],
    "adversarial": [
        "--steps",
        "1",
        "--set",
        "discriminator_pretraining_steps=1",
        "--device",
        "cpu",
        "--quiet",
    ],
    "evaluate": ["--n", "60", "--json"],
    "sample": ["--quiet"],
    "score": ["--quiet"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    good, bad = (
        ("a fine book, chapter {}.", "I liked page {}."),
        ("a dull book, chapter {}.", "I left at page {}."),
    )
    rows = [
        f'{i},"{text.format(i)}",{stars}'
        for i in range(60)
        for stars, kind in ((5, good), (1, bad))
        for text in kind
    ]
    (folder / "reviews.csv").write_text("\n".join(["id,text,stars", *rows]), encoding="utf-8")
    pairs = [{"question": f"what is after {i}?", "answer": f"it is {i + 1}."} for i in range(90)]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (folder / "lines.txt").write_text("a fine book, chapter 3.\nI left at page 4.\n", encoding="utf-8")
    (folder / "questions.txt").write_text("what is after 5?\nwhat is after 7?\nwhat?\n", encoding="utf-8")
    return folder


def run(command: list[str]) -> str:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (command, result.output)
    return result.stdout


def test_the_commands_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    section = README.read_text(encoding="utf-8").split("## Labels, and texts to go on from")[1]
    (block,) = re.findall(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    shown = [shlex.split(line)[1:] for line in block.splitlines()]
    assert len(shown) == 10
    printed = [run(command + SHORT[command[0]]) for command in shown]
    assert len(printed[2].splitlines()) == 3
    rows = [json.loads(line) for line in printed[3].splitlines()]
    assert {row["label"] for row in rows} == {"1", "5"}
    assert sum(row["label"] == "5" for row in rows) > 10
    both, five = json.loads(printed[4]), json.loads(printed[5])
    assert 0 <= both["labels"]["accuracy"] <= 1
    assert both["real"]["labels"]["accuracy"] > 0.9
    assert five["protocol"]["references"] < both["protocol"]["references"]
    assert len(printed[6].splitlines()) == 2
    assert len(printed[8].splitlines()) == 3
    assert json.loads(printed[9])["sources"]["n"] >= 1
    table = run(["evaluate", "--run", "runs/reviews", "--n", "60", "--quiet"])
    assert "labels: fraction of the sentences" in table
    rows = [json.loads(line) for line in run([*shown[8], "--format", "jsonl", "--quiet"]).splitlines()]
    assert [row["source"] for row in rows] == (folder / "questions.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sample --run runs/reviews --label 4", "seqgen: the run has no label '4'; allowed: 1, 5"),
        ("sample --run runs/reviews --label 5 --label 5", "--label '5' is given twice; give its weight as"),
        (
            "sample --run runs/reviews --source lines.txt",
            "go on from no source; train a run with --source-column",
        ),
        ("sample --run runs/answers --label 5", "was trained without labels; train one with --label-column"),
        ("sample --run runs/answers --source questions.txt --prompt it", "leave --prompt out"),
        ("score lines.txt --run runs/reviews", "is given a label, and here they are given none"),
        ("score lines.txt --run runs/answers --label 5", "was trained without labels"),
        ("evaluate --run runs/reviews --label 4", "the run has no label '4'"),
        ("evaluate --hyp lines.txt --ref lines.txt --label 4", "--label is for a run with labels"),
        ("pretrain --corpus reviews.csv --column text --label-column id --run runs/x", ""),
        ("pretrain --corpus lines.txt --label-column stars --run runs/y", "has no column 'stars'"),
        (
            "pretrain --corpus reviews.csv --label-column stars --source-column id --run runs/y",
            "a label or a source, not both",
        ),
    ],
)
def test_errors_are_one_line(
    folder: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    monkeypatch.chdir(folder)
    if not (folder / "runs/answers").exists():
        test_the_commands_of_the_readme(folder, monkeypatch)
    if not message:
        monkeypatch.setattr("seqgen.training.data_config.MOST_LABELS", 50)
        message = "column 'id' has 60 different values; labels are at most 50"
    code, _, err = cli(*shlex.split(command))
    assert code == 2
    assert message in err
    assert [line for line in err.splitlines() if line.startswith("seqgen: ")] == [err.splitlines()[-1]]


@pytest.fixture(scope="module")
def latent(folder: Path) -> Path:
    """A sentence-vae of labelled text that has trained for a few steps, and lines with the labels of each."""
    (folder / "stars.txt").write_text("5\n1\n", encoding="utf-8")
    table = 'text,stars\n"a fine book, chapter 3.",5\nI left at page 4.,1\n'
    (folder / "few.csv").write_text(table, encoding="utf-8")
    (folder / "holes.csv").write_text(table + "I liked it.,\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        given = [
            "--corpus",
            "reviews.csv",
            "--column",
            "text",
            "--label-column",
            "stars",
            "--run",
            "runs/vae",
        ]
        run(["pretrain", "sentence-vae", *given, *SHORT["pretrain"]])
    return folder


def latents(command: str) -> np.ndarray:
    run([*shlex.split(command), "--run", "runs/vae", "--out", "found.npy", "--quiet"])
    return np.load("found.npy")


def test_latents_know_the_label_whether_it_is_given_for_all_or_by_a_column(
    latent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(latent)
    good, bad = (latents(f"encode lines.txt --label {label}") for label in (5, 1))
    assert not np.allclose(good, bad, atol=1e-4)
    each = latents("encode few.csv --column text --label-column stars")
    assert np.allclose(each, np.stack((good[0], bad[1])), atol=1e-5)
    lines = (latent / "lines.txt").read_text(encoding="utf-8").splitlines()
    assert np.allclose(seqgen.encode("runs/vae", lines, label="1"), bad, atol=1e-5)
    found = [seqgen.reconstruct("runs/vae", lines, label=label)[0] for label in ("5", "1")]
    assert [each.text for each in found] == lines[:1] * 2
    assert found[0].nll != found[1].nll
    scores = [next(seqgen.score("runs/vae", lines, label=label)).log_prob for label in ("5", "1")]
    assert scores[0] != scores[1]


def test_latent_commands_take_a_label_and_show_none(latent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(latent)
    first, last = (latent / "lines.txt").read_text(encoding="utf-8").splitlines()
    vae, json_rows = ["--run", "runs/vae"], ["--format", "jsonl"]
    shown = [
        json.loads(each)
        for each in run(["reconstruct", first, "--label", "5", *vae, *json_rows]).splitlines()
    ]
    assert [row["text"] for row in shown] == [first]
    by_file = ["reconstruct", "--file", "few.csv", "--column", "text", "--label-column", "stars", *json_rows]
    of_table = [json.loads(each) for each in run([*by_file, *vae]).splitlines()]
    assert [row["text"] for row in of_table] == [first, last]
    assert of_table[0]["nll"] == pytest.approx(shown[0]["nll"], rel=1e-4)
    drawn = CliRunner().invoke(app, ["interpolate", "--label", "5", "--label", "1", *vae])
    start, end = (re.split(r"(?:from|to): +", line)[1] for line in drawn.stderr.splitlines()[-2:])
    stars = dict(row[1:] for row in csv.reader((latent / "reviews.csv").open(encoding="utf-8")))
    assert (stars[start], stars[end]) == ("5", "1")
    found = run(["interpolate", first, last, "--steps", "2", "--label", "5", *vae]).splitlines()
    assert found == seqgen.interpolate("runs/vae", first, last, 2, label="5")
    searched = ["neighbours", first, "--label", "5", "--n", "1", *vae]
    assert len(run(searched).splitlines()) == 2
    among = [*searched, "--among", "few.csv", "--column", "text", "--label-column", "stars"]
    assert run(among).splitlines()[1].split("  ") == ["", "0.0000", first]
    for command in (["neighbours"], ["reconstruct"], ["interpolate"]):
        printed = CliRunner().invoke(app, [*command, *vae])
        assert printed.exit_code == 0
        assert "\x1f" not in printed.output


def test_a_map_of_labelled_text_has_its_labels_as_colours(
    latent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(latent)
    titles = []
    by_label = latent_map.by_label
    monkeypatch.setattr(
        latent_map,
        "by_label",
        lambda labels, title: titles.append((title, sorted(set(labels)))) or by_label(labels, title),
    )
    vae = ["--run", "runs/vae", "--method", "pca", "--n", "50"]
    run(["map", *vae, "--out", "test.png"])
    run(["map", "reviews.csv", "--column", "text", "--label-column", "stars", *vae, "--out", "own.png"])
    # coloured by something else, each line is of the label that is given
    run(
        [
            "map",
            "reviews.csv",
            "--column",
            "text",
            "--label-column",
            "id",
            "--label",
            "5",
            *vae,
            "--out",
            "id.png",
        ]
    )
    assert [title for title, _ in titles] == ["stars", "stars", "id"]
    assert titles[0][1] == titles[1][1] == ["1", "5"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("encode lines.txt --out x.npy", "here they are given none; give --label, or --label-column where"),
        ("encode lines.txt --out x.npy --label 4", "the run has no label '4'; allowed: 1, 5"),
        ("encode lines.txt --out x.npy --label-column stars", "is plain text and has no column 'stars'"),
        ("encode few.csv --column text --out x.npy --label 5 --label-column stars", "are both given"),
        (
            "encode holes.csv --column text --label-column stars --out x.npy",
            "FILE 'holes.csv': row 3 has no sentence or no 'stars'; leave such rows out",
        ),
        ("reconstruct a --label-column stars", "--label-column is for a table; name it with --file"),
        ("interpolate a b --label 1 --label 5 --label 1", "--label is given 3 times; give it once for both"),
        ("interpolate a b", "here they are given none; give --label"),
    ],
)
def test_errors_of_labelled_latents_are_one_line(
    latent: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    monkeypatch.chdir(latent)
    code, _, err = cli(*shlex.split(command), "--run", "runs/vae")
    assert code == 2
    assert message in err
    assert [line for line in err.splitlines() if line.startswith("seqgen: ")] == [err.splitlines()[-1]]
