"""Paths as a run stores them."""

from pathlib import Path

import pytest

from seqgen.training import paths


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("project/text.txt", "../../text.txt"),
        ("project/data/a/text.txt", "../../data/a/text.txt"),
        ("project/runs/other", "../other"),
        ("project/runs/r/corpus.txt", "./corpus.txt"),
    ],
)
def test_what_lies_beside_a_run_moves_with_it(tmp_path: Path, path: str, stored: str) -> None:
    (tmp_path / "project/runs/r").mkdir(parents=True)
    assert paths.to_store(str(tmp_path / path), tmp_path / "project/runs/r") == stored
    (tmp_path / "project").rename(tmp_path / "moved")
    found = paths.from_store(stored, tmp_path / "moved/runs/r")
    assert found == str(tmp_path / path.replace("project", "moved"))


@pytest.mark.parametrize("name", ["scenes", "hf:wikitext:en", "oracle:lstm-0", "/elsewhere/text.txt", ".."])
def test_names_and_what_lies_elsewhere_stay_as_they_are(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "runs/r"
    assert paths.to_store(name, folder) == name
    assert paths.from_store(name, folder) == name


def test_a_run_near_the_root_does_not_take_the_whole_disk_for_its_project() -> None:
    assert paths.to_store("/data/text.txt", Path("/runs/r")) == "/data/text.txt"
    assert paths.to_store("/runs/text.txt", Path("/runs/r")) == "../text.txt"


def test_a_file_that_moved_along_with_another_is_found(tmp_path: Path) -> None:
    (tmp_path / "new/held").mkdir(parents=True)
    (tmp_path / "new/held/test.txt").write_text("a")
    before, now = "/old/train.txt", str(tmp_path / "new/train.txt")
    assert paths.moved_along("/old/held/test.txt", before, now) == str(tmp_path / "new/held/test.txt")
    assert paths.moved_along("/old/valid.txt", before, now) == "/old/valid.txt"
    assert paths.moved_along(str(tmp_path), before, now) == str(tmp_path)
    assert paths.moved_along("hf:name", before, now) == "hf:name"
