"""`seqgen corpora` through its runner."""

import hashlib
import json
import shlex
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqgen import corpora
from seqgen.cli.corpora import app
from seqgen.core.errors import UserError
from seqgen.corpora import recipes

POEMS = "床 前 明 月 光 。\n疑 是 地 上 霜 。\n".encode()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that has the file of the poems recipe; the checksum of the recipe is adapted to it."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "shi.txt").write_bytes(POEMS)
    original = recipes.get_recipe("poems")
    file = recipes.File(original.files[0].url, "poems.txt", len(POEMS), hashlib.sha256(POEMS).hexdigest())
    fitted = recipes.Recipe(
        "poems", original.title, (file,), original.licence, original.format, original.next_command
    )
    monkeypatch.setattr(recipes, "RECIPES", (fitted,))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*args: str):
    result = CliRunner().invoke(app, [*args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result


def test_list_has_a_line_for_each():
    lines = run("list").stdout.splitlines()
    expected = [*corpora.names(), *[recipe.name for recipe in recipes.RECIPES]]
    assert [line.split()[0] for line in lines] == expected
    assert [line.split()[1] for line in lines] == ["built-in"] * 3 + ["fetch"] * (len(expected) - 3)
    assert all(len(line.split()) > 4 for line in lines)
    found = json.loads(run("list", "--json").stdout)
    assert list(found["built_in"]) == corpora.names()
    assert found["public"]["coco"] == recipes.get_recipe("coco").title


@pytest.mark.parametrize("name", ["couplets", "expressions", "scenes"])
def test_show_prints_the_card_and_samples(name: str):
    found = run("show", name, "--n", "3", "--seed", "13").stdout
    assert found.startswith(corpora.card(name).rstrip())
    assert found.splitlines()[-3:] == corpora.load(name).sample(3, 13)
    assert "samples" not in run("show", name, "--n", "0").stdout
    assert len(json.loads(run("show", name, "--json").stdout)["samples"]) == 5


def test_show_prints_a_recipe():
    found = run("show", "coco")
    file = recipes.get_recipe("coco").files[0]
    assert all(
        text in found.stdout for text in (file.url, file.sha256, "546,442", "CC BY 4.0", "coco_test.txt")
    )
    assert json.loads(run("show", "coco", "--json").stdout)["files"][0]["sha256"] == file.sha256


def test_show_names_the_nearest():
    with pytest.raises(UserError, match="no corpus 'cuplets'; did you mean 'couplets'"):
        run("show", "cuplets")


def test_stats_of_a_file(tmp_path: Path):
    path = tmp_path / "lines.txt"
    path.write_text("a b\na b c\n\na b\nd   e\n" + "".join(f"x y z w {i}\n" for i in range(7)))
    found = json.loads(run("stats", str(path), "--json").stdout)
    assert found["sentences"] == sum(found["splits"].values()) == 11
    assert (found["tokens"], found["types"]) == (9 + 35, 9 + 7)
    assert found["duplicates"] == pytest.approx(1 / 11, rel=1e-12)
    assert found["tokens_per_sentence"] == {"min": 2, "median": 5, "mean": 4.0, "p95": 5, "max": 5}
    assert found["most_frequent"][0] == ["x", 7]
    table = run("stats", str(path)).stdout
    assert "9.09%" in table
    assert "44, 16 distinct" in table
    assert "min 2  median 5  mean 4  p95 5  max 5" in table


def test_stats_of_a_missing_file():
    with pytest.raises(UserError, match="nowhere"):
        run("stats", "./nowhere.txt")


def test_fetch_prints_the_path_and_says_what_is_next(mirror: str, tmp_path: Path):
    out = tmp_path / "out"
    first = run("fetch", "poems", "--out", str(out), "--url", f"{mirror}/shi.txt")
    assert first.stdout.splitlines() == [str(out / "poems.txt")]
    assert (out / "poems.txt").read_bytes() == POEMS
    assert f"next: seqgen pretrain --corpus {out}/poems.txt" in first.stderr
    assert "licence: " in first.stderr
    again = run("fetch", "poems", "--out", str(out))  # the recipe's own address is out of reach here
    assert again.stdout == first.stdout
    spaced = run("fetch", "poems", "--out", str(tmp_path / "my poems"), "--url", f"{mirror}/shi.txt")
    assert f"next: seqgen pretrain --corpus '{tmp_path}/my poems'/poems.txt" in spaced.stderr
    assert "already downloaded" in again.stderr


def test_fetch_goes_to_the_cache_and_can_be_quiet(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    found = run("fetch", "poems", "--url", f"{mirror}/", "--quiet")
    assert found.stdout.splitlines() == [str(tmp_path / "cache" / "data" / "poems" / "poems.txt")]
    assert found.stderr == ""


LAYOUTS = {
    "names": {"female.txt": "Anna\nBerta\n", "male.txt": "Carl\nDora\n"},
    "molecules": {"train.csv": "SMILES,SPLIT\nCC,train\nC=O,train\n", "test.csv": "SMILES,SPLIT\nN,test\n"},
    "logs": {"hdfs.log": "081109 INFO a.b: block blk_-12 of 7\n081109 INFO a.b: block blk_-3 of 7\n"},
    "tweets": {"tweets_train.txt": "@user so good! #a\nit's: bad\n", "tweets_test.txt": "@user ok\n"},
    "verses": {"train.tsv": "0\tthe sea is wide\t1\n1\tno bird sang\t-1\n", "test.tsv": "0\tand so\t0\n"},
    "topics": {
        "train.csv": '"3","Oil, up","It rose."\n"2","Cup won","They ""won""."\n',
        "test.csv": '"1","Talks","a"\n',
    },
    "restaurants": {
        "train.csv": 'mr,ref\n"name[A], food[Thai]",A is Thai.\n"name[B], area[north]","B, in the north."\n',
        "test.csv": 'mr,ref\n"name[C], food[Thai]",C serves Thai.\n',
    },
}
"""Files of our own in the layout of recipes of tables, and of lists of lines."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_next_command_reads_files_of_the_layout(cli, name: str, tmp_path: Path):
    recipe = recipes.get_recipe(name)
    assert {file.name for file in recipe.files} == LAYOUTS[name].keys()
    folder = tmp_path / "files"
    folder.mkdir()
    for file, content in LAYOUTS[name].items():
        (folder / file).write_text(content)
    command = shlex.split(recipe.next_command.format(folder=folder))[1:]
    small = ["--steps", 1, "--set", "generator.embedding=3", "--set", "generator.hidden=5", "--quiet"]
    code, _, err = cli(*command, *small, "--run", tmp_path / "r")
    assert code == 0, err
    config = json.loads((tmp_path / "r/config.json").read_text())
    assert config["data"]["label_column"] == {"verses": "3", "topics": "1"}.get(name)
    assert config["data"]["source_column"] == ("mr" if name == "restaurants" else None)


def test_fetch_errors_are_for_the_user(mirror: str, tmp_path: Path):
    with pytest.raises(UserError, match="no recipe 'poem'; did you mean 'poems'"):
        run("fetch", "poem")
    with pytest.raises(UserError, match="answered 404"):
        run("fetch", "poems", "--out", str(tmp_path / "out"), "--url", f"{mirror}/nothing.txt")
