"""Which run of a folder is the newest, and the link or file `latest` that names it."""

import errno
import os

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.training import latest_link, run_folder

CONFIG = {"algorithm": "mle", "verb": "pretrain", "format": run_folder.FORMAT}


def test_latest_names_the_newest_run(tmp_path):
    assert latest_link.latest(tmp_path) is None
    for name in ("one", "two"):
        run_folder.create(tmp_path / name, {"algorithm": "mle"})
        latest_link.mark_latest(tmp_path / name)
    assert latest_link.latest(tmp_path) == tmp_path / "two"
    (tmp_path / "two" / run_folder.CONFIG).unlink()
    (tmp_path / "two").rmdir()
    assert latest_link.latest(tmp_path) is None


def test_a_broken_run_does_not_hide_the_others(tmp_path):
    for name in ("a", "b"):
        made = run_folder.create(tmp_path / name, CONFIG)
        (made.path / run_folder.WEIGHTS).write_bytes(b"")
    (tmp_path / "a" / run_folder.CONFIG).write_text("{")
    assert [each.name for each in run_folder.newest_first(tmp_path)] == ["b"]


def test_the_newest_run_that_fits_is_found_where_latest_dangles(tmp_path):
    for age, (name, verb) in enumerate({"a": "pretrain", "b": "image", "c": "pretrain"}.items()):
        made = run_folder.create(tmp_path / name, CONFIG | {"verb": verb})
        run_folder.save_weights(made, {"w": torch.ones(2)})
        os.utime(made.path / run_folder.WEIGHTS, (1000 + age, 1000 + age))
    text, images = (lambda run: run.config["verb"] != "image"), (lambda run: run.config["verb"] == "image")
    latest_link.mark_latest(tmp_path / "a")
    assert run_folder.newest(tmp_path, text).name == "a"  # it is named, though "c" is newer
    assert run_folder.newest(tmp_path, images).name == "b"
    (tmp_path / "a").rename(tmp_path / "renamed")
    assert run_folder.newest(tmp_path, text).name == "c"
    assert run_folder.newest(tmp_path, lambda run: False) is None
    with pytest.raises(
        UserError, match="latest' is a link to 'a', which is not there any more; name the run"
    ):
        run_folder.open_run(tmp_path / "latest")


@pytest.fixture
def without_links(monkeypatch):
    """A disk or a user who may make no links."""

    def unsupported(*args, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", unsupported)


def test_where_no_link_can_be_made_latest_is_a_file_that_names_the_run(tmp_path, without_links):
    for name in ("one", "two 2"):
        run_folder.create(tmp_path / name, CONFIG)
        latest_link.mark_latest(tmp_path / name)
        assert not (tmp_path / "latest").is_symlink()
        assert latest_link.latest(tmp_path) == tmp_path / name
        assert run_folder.open_run(tmp_path / "latest").path == tmp_path / name
    assert (tmp_path / "latest").read_text() == f"{latest_link.NAMED}\ntwo 2\n"
    (tmp_path / "two 2").rename(tmp_path / "renamed")
    assert latest_link.latest(tmp_path) is None
    with pytest.raises(UserError, match=r"no run at '.*two 2'"):
        run_folder.open_run(tmp_path / "latest")


def test_a_file_that_names_the_run_becomes_a_link_where_one_can_be_made(tmp_path, monkeypatch):
    run_folder.create(tmp_path / "one", CONFIG)
    with monkeypatch.context() as patch:
        patch.delattr(os, "symlink")  # as where Python itself knows of none
        latest_link.mark_latest(tmp_path / "one")
    assert (tmp_path / "latest").is_file()
    latest_link.mark_latest(tmp_path / "one")
    assert os.readlink(tmp_path / "latest") == "one"


def test_a_link_that_cannot_be_replaced_becomes_a_file(tmp_path, monkeypatch):
    for name in ("one", "two"):
        run_folder.create(tmp_path / name, CONFIG)
    latest_link.mark_latest(tmp_path / "one")

    def refused(*args):  # Windows renames nothing to the name of a link to a folder
        raise PermissionError(errno.EACCES, "Access is denied")

    monkeypatch.setattr(latest_link, "replace_link", refused)
    latest_link.mark_latest(tmp_path / "two")
    assert not (tmp_path / "latest").is_symlink()
    assert latest_link.latest(tmp_path) == tmp_path / "two"
    assert not (tmp_path / "one" / "latest").exists()


@pytest.mark.parametrize(
    "content",
    [
        "one\n",
        "",
        f"{latest_link.NAMED}\n",
        f"{latest_link.NAMED}\n../elsewhere\n",
        f"{latest_link.NAMED}\n..\n",
    ],
)
def test_a_file_of_the_users_own_named_latest_stays(tmp_path, without_links, content):
    run_folder.create(tmp_path / "one", CONFIG)
    (tmp_path / "latest").write_text(content)
    latest_link.mark_latest(tmp_path / "one")
    assert (tmp_path / "latest").read_text() == content
    assert latest_link.latest(tmp_path) is None


def test_where_neither_link_nor_file_can_be_written_only_the_latest_lacks(
    tmp_path, without_links, monkeypatch
):
    def full(*args):
        raise UserError("no space left on the disk")

    monkeypatch.setattr(run_folder, "write_text", full)
    latest_link.mark_latest(tmp_path / "r")
    assert latest_link.latest(tmp_path) is None
